"""Scores of recognisers as one table with its sweep, from folders that `sigssl score asr` wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sigssl.cli.main import main
from sigssl.data.io import write_json, write_table
from sigssl.reports.asr_arms import rows, table

REFERENCE = {f"{s}-{k}": "one two three four" for s in ("ann", "ben", "cat") for k in range(4)}


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    folder = tmp_path / "test"
    write_table(folder / "text", REFERENCE)
    write_table(folder / "utt2spk", {id: id.split("-")[0] for id in REFERENCE})
    return folder


def score(reference: Path, out: Path, wrong: int, arm: str, fraction: float, lm: str = "") -> None:
    """Score a hypothesis with some wrong words in each utterance of ann, and one fewer in the others'."""
    hypothesis = out.parent / f"hyp_{out.name}"
    bad = {id: wrong - (not id.startswith("ann")) for id in REFERENCE}
    write_table(hypothesis / "text", {id: " ".join(["x"] * bad[id] + text.split()[bad[id] :]) for id, text in REFERENCE.items()})
    write_json(hypothesis / "decode.json", {"settings": {"lm": lm}})
    words_ = ["--ref", str(reference), "--hyp", str(hypothesis), "--out", str(out), "--arm", arm, "--fraction", str(fraction)]
    assert main(["score", "asr", *words_]) == 0


def test_table_and_sweep(reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exp = tmp_path / "exp"
    for fraction, errors in ((0.1, (4, 3, 2)), (1.0, (3, 2, 1))):
        for arm, wrong in zip(("from scratch", "TERA frozen", "TERA fine-tuned"), errors, strict=True):
            name = f"{arm.split()[-1]}-{fraction}"
            score(reference, exp / name, wrong, arm, fraction)
            score(reference, exp / f"{name}-lm", wrong - 1 if wrong > 1 else 1, arm, fraction, lm="lm.arpa")
    (exp / "run").mkdir()
    (exp / "run" / "metrics.jsonl").write_text(
        '{"step": 20, "loss": 3.1, "blank_ratio": 0.9}\n'
    )  # of a recogniser, which is no pretraining run
    assert main(["report", str(exp)]) == 0
    capsys.readouterr()
    page = (exp / "report" / "REPORT.md").read_text()
    assert "## Speech recognition" in page and "12 test utterances of 3 speakers, 48 words" in page and "rough" in page
    assert "## Pretraining" not in page
    assert (exp / "report" / "wer.png").read_bytes().startswith(b"\x89PNG")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith(("| 10 ", "| 100 "))]
    assert [line[:2] for line in lines] == [
        [share, arm] for share in ("10", "100") for arm in ("TERA fine-tuned", "TERA frozen", "from scratch")
    ]
    by_arm = {(line[0], line[1]): line for line in lines}
    assert by_arm["10", "from scratch"][2] == "83.3" and by_arm["10", "from scratch"][-1] == "–"
    assert by_arm["10", "TERA frozen"][2] == "58.3" and by_arm["10", "TERA frozen"][-1] == "-25.0 (-25.0 to -25.0)"
    assert by_arm["10", "TERA fine-tuned"][5].startswith("**")  # with the language model it is the best of its share


def test_one_share_draws_nothing_and_folds_are_joined(reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folds = []
    for speaker in ("ann", "ben", "cat"):
        folds.append(tmp_path / f"fold_{speaker}")
        write_table(folds[-1] / "text", {id: text for id, text in REFERENCE.items() if id.startswith(speaker)})
    out = tmp_path / "exp" / "score"
    words = ["score", "asr", "--ref", str(reference), "--out", str(out), "--hyp", *map(str, folds)]
    assert main(words) == 0 and json.loads((out / "metrics.json").read_text())["wer"]["value"] == 0
    assert main(["report", str(tmp_path / "exp")]) == 0
    assert not (tmp_path / "exp" / "report" / "wer.png").exists()
    assert "| 100 | score | **0.0** |" in (tmp_path / "exp" / "report" / "REPORT.md").read_text()
    capsys.readouterr()
    assert main([*words, str(folds[0])]) == 2
    assert "'ann-0' is in another hypothesis too" in capsys.readouterr().err


def test_an_arm_without_language_model_or_without_the_plain_score() -> None:
    def made(arm: str, lm: str) -> dict[str, object]:
        rate = {"value": 0.5, "low": 0.4, "high": 0.6}
        return {"arm": arm, "fraction": 1.0, "wer": rate, "cer": rate, "by_speaker": {}, "settings": {"lm": lm}}

    text = table(rows([made("a", ""), made("b", "x.arpa")]))
    assert "| 100 | a | **50.0** | 40.0 to 60.0 | 50.0 | – | – | – |" in text
    assert "| 100 | b | – | – | – | **50.0** | 40.0 to 60.0 | – |" in text
