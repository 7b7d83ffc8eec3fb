"""The score of a recogniser in Markdown, and the files of `sigssl score asr`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sigssl.asr.scoring import Scored, alignments, kaldi_line
from sigssl.data.io import write_json, write_text
from sigssl.reports.tables import interval, markdown, percent

KIND = "asr"  # of metrics.json
MOST = 15  # rows of speakers and confusions that the page shows; metrics.json has more


def asr_page(result: dict[str, Any]) -> str:
    """Everything about a score that text can say.

    Args:
        result: what :func:`sigssl.asr.scoring.summarise` made, with `settings`.
    """
    rows = [
        [name, percent(rate["value"], 2), interval(rate)]
        + [str(rate[key]) for key in ("errors", "total", "substitutions", "deletions", "insertions")]
        for name, rate in (("WER", result["wer"]), ("CER", result["cer"]))
    ]
    header = ["rate", "%", "95 % interval", "errors", "of", "sub", "del", "ins"]
    rough = "; with so few of them it is rough" if result["interval_over"] == "speakers" and result["speakers"] < 10 else ""
    settings = result["settings"]
    parts = [
        f"```\n{kaldi_line(result['wer'])}\n{kaldi_line(result['cer'], 'CER')}\n```",
        markdown(header, rows),
        f"{result['utterances']} utterances of {result['speakers']} speakers, {result['sentence_errors']} with an error; "
        f"{settings['missing']} had no hypothesis and count as deleted, {settings['unused']} hypotheses have no reference. "
        f"Interval: bootstrap over {result['interval_over']}, {settings['bootstrap']} resamples{rough}. "
        f"Both texts were normalised: {settings['normaliser']}.",
        "**By speaker**, worst first\n\n" + _speakers(result),
        "**Most frequent confusions**\n\n" + _confusions(result),
    ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def write_asr_score(result: dict[str, Any], scored: Sequence[Scored], out: Path) -> None:
    """Write metrics.json, table.md, per_utt and wer into a folder, each whole."""
    write_json(out / "metrics.json", result)
    write_text(out / "table.md", asr_page(result))
    write_text(out / "per_utt", alignments(scored))
    write_text(out / "wer", kaldi_line(result["wer"]) + "\n")


def _speakers(result: dict[str, Any]) -> str:
    order = sorted(result["by_speaker"].items(), key=lambda item: (-(item[1]["wer"] or 0.0), item[0]))
    rows = [
        [name, str(one["utterances"]), str(one["words"]), *("–" if one[k] is None else percent(one[k]) for k in ("wer", "cer"))]
        for name, one in order[:MOST]
    ]
    hidden = len(order) - len(rows)
    more = f"\n{hidden} more speakers are in metrics.json.\n" if hidden else ""
    return markdown(["speaker", "utterances", "words", "WER %", "CER %"], rows) + more


def _confusions(result: dict[str, Any]) -> str:
    every = [one for kind in ("substitutions", "deletions", "insertions") for one in result["confusions"][kind]]
    every.sort(key=lambda one: -one["count"])
    if not every:
        return "None: every word was recognised.\n"
    rows = [[one["reference"], one["hypothesis"], str(one["count"])] for one in every[:MOST]]
    return markdown(["reference", "hypothesis", "times"], rows, words=2)
