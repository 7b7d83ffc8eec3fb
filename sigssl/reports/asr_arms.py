"""Scores of several recognisers as one table, and word error rate over the share of labels as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sigssl.downstream.metrics import bootstrap_difference, resamples
from sigssl.reports.style import COLOURS, figure, grid
from sigssl.reports.tables import interval, markdown, percent

SCRATCH = "from scratch"  # what the others are compared with, where it is there
FIGURE = "wer.png"
Score = dict[str, Any]


class Row(NamedTuple):
    """One arm at one share of labels: its score without and with a language model."""

    arm: str
    fraction: float
    plain: Score | None
    lm: Score | None


def asr_section(scores: Sequence[Score], out: Path) -> str:
    """Markdown of the scores; draws the sweep into `out` where there are several shares of labels.

    Args:
        scores: metrics.json of `sigssl score asr`.
        out: folder of the figure.
    """
    found = rows(scores)
    (out / FIGURE).unlink(missing_ok=True)
    text = table(found) + "\n" + notes(found)
    if len({row.fraction for row in found}) > 1:
        draw_sweep(found, out / FIGURE)
        caption = "Word error rate on the test part over the share of transcribed training utterances; bars: 95 % intervals."
        text += f"\n![{caption}]({FIGURE})\n\n*{caption}*\n"
    return text


def rows(scores: Sequence[Score]) -> list[Row]:
    """One row for each arm and share, smallest share first; arms in the order in which they come."""
    arms = list(dict.fromkeys(score["arm"] for score in scores))
    made = []
    for fraction in sorted({score["fraction"] for score in scores}):
        for arm in arms:
            own = [score for score in scores if (score["arm"], score["fraction"]) == (arm, fraction)]
            plain, lm = (next((s for s in own if bool(s["settings"].get("lm")) == with_lm), None) for with_lm in (False, True))
            if own:
                made.append(Row(arm, fraction, plain, lm))
    return made


def table(found: Sequence[Row]) -> str:
    """The table: word error rates with intervals, and the difference to training from scratch."""
    reference = _reference(found)
    header = ["labels %", "arm", "WER %", "95 % interval", "CER %", "WER % with LM", "95 % interval", f"WER minus {reference}"]
    lines = []
    best = {
        fraction: min(s["wer"]["value"] for row in found if row.fraction == fraction for s in (row.plain, row.lm) if s is not None)
        for fraction in {row.fraction for row in found}
    }
    for row in found:
        plain, lm = (_cells(score, best[row.fraction]) for score in (row.plain, row.lm))
        letters = "–" if row.plain is None else percent(row.plain["cer"]["value"])
        lines.append([f"{100 * row.fraction:g}", row.arm, *plain, letters, *lm, _difference(row, reference, found)])
    return markdown(header, lines, words=2)


def _cells(score: Score | None, best: float) -> list[str]:
    """Word error rate and interval, the best of a share of labels in bold."""
    if score is None:
        return ["–", "–"]
    value = percent(score["wer"]["value"])
    return [f"**{value}**" if score["wer"]["value"] == best else value, interval(score["wer"])]


def notes(found: Sequence[Row]) -> str:
    """What was scored, and how sure the intervals are."""
    score = next(s for row in found for s in (row.plain, row.lm) if s is not None)
    over, speakers = score["interval_over"], score["speakers"]
    rough = "; with so few of them they are rough" if over == "speakers" and speakers < 10 else ""
    alone = " One speaker: they say nothing of other voices." if speakers == 1 else ""
    words = score["wer"]["total"]
    return (
        f"{score['utterances']} test utterances of {speakers} speaker{'s' * (speakers != 1)}, {words} words. Intervals: bootstrap "
        f"over {over}{rough}.{alone} Differences are paired over speakers, without language model.\n"
    )


def draw_sweep(found: Sequence[Row], path: Path) -> None:
    """Word error rate over the share of labels, a colour for each arm, dashed with a language model."""
    arms = list(dict.fromkeys(row.arm for row in found))
    fractions = sorted({row.fraction for row in found})
    with figure(path, 6.0, 3.6) as axes:
        for number, arm in enumerate(arms):
            for with_lm in (False, True):
                points = [(row.fraction, row.lm if with_lm else row.plain) for row in found if row.arm == arm]
                own = [(fraction, score["wer"]) for fraction, score in points if score is not None]
                if not own:
                    continue
                shift = 1 + 0.03 * (number - (len(arms) - 1) / 2)
                places = [100 * fraction * shift for fraction, _ in own]
                values = np.array([[100 * wer[key] for key in ("value", "low", "high")] for _, wer in own]).T
                errors = np.clip([values[0] - values[1], values[2] - values[0]], 0, None)
                label = f"{arm}, with LM" if with_lm else arm
                look: dict[str, Any] = {"ls": "--" if with_lm else "-", "marker": "os^Dv"[number % 5], "ms": 5, "capsize": 2}
                fill = "white" if with_lm else COLOURS[number % len(COLOURS)]
                axes.errorbar(
                    places, values[0], yerr=errors, label=label, color=COLOURS[number % len(COLOURS)], mfc=fill, lw=1.4, **look
                )
        axes.set_xscale("log")
        axes.set_xticks([100 * fraction for fraction in fractions], [f"{100 * fraction:g}" for fraction in fractions])
        axes.minorticks_off()
        axes.set(xlabel="transcribed training utterances (%)", ylabel="word error rate (%)")
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        grid(axes)


def _reference(found: Sequence[Row]) -> str:
    return SCRATCH if any(row.arm == SCRATCH for row in found) else found[0].arm


def _difference(row: Row, reference: str, found: Sequence[Row]) -> str:
    """An arm minus the reference at the same share, with its interval over speakers; in points."""
    other = next((r for r in found if r.arm == reference and r.fraction == row.fraction), None)
    if row.arm == reference or other is None or row.plain is None or other.plain is None:
        return "–"
    mine, theirs = row.plain["by_speaker"], other.plain["by_speaker"]
    names = sorted(name for name in mine.keys() & theirs.keys() if mine[name]["words"])
    if len(names) < 2:
        return f"{100 * (row.plain['wer']['value'] - other.plain['wer']['value']):+.1f}"
    totals = np.array([mine[name]["words"] for name in names], dtype=float)
    errors = [np.array([one[name]["wer"] for name in names]) * totals for one in (mine, theirs)]
    gap = bootstrap_difference(errors[0], totals, errors[1], totals, resamples(len(names), 2000))
    return f"{100 * gap.value:+.1f} ({100 * gap.low:+.1f} to {100 * gap.high:+.1f})"
