"""Two scorers of the same nights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from edf_files import hypnogram_edf

from sigssl.cli.main import main
from sigssl.data.hypnogram import Hypnogram
from sigssl.downstream.agreement import count, scores
from sigssl.errors import UserError
from sigssl.reports.scorers import common


def write(folder: Path, name: str, stages: list[str]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(stages) + "\n")


def test_two_scorers_of_three_nights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(2)
    nights = {}
    for k in range(3):
        one = generator.choice(["W", "N1", "N2", "N3", "R"], 60).tolist()
        other = [stage if generator.random() < 0.8 else "N2" for stage in one]
        nights[f"n{k}"] = (one, other)
        write(tmp_path / "anna", f"n{k}.txt", one)
        write(tmp_path / "ben", f"n{k}_stages.csv", other)
    write(tmp_path / "anna", "n9.txt", ["W"])
    assert main(["agreement", str(tmp_path / "anna"), str(tmp_path / "ben"), "--out", str(tmp_path / "out"), "--everything"]) == 1
    told = capsys.readouterr().out
    found = json.loads((tmp_path / "out/agreement.json").read_text())
    expected = float(scores(sum(count(*pair) for pair in nights.values()))["kappa"])
    assert found["pooled"]["kappa"]["value"] == pytest.approx(expected) and found["nights"] == 3
    assert "n9" in told and f"kappa {expected:.3f}" in told
    text = (tmp_path / "out/index.html").read_text()
    assert "anna" in text and "ben" in text and (tmp_path / "out/bland_altman.png").is_file()


def test_two_files_of_unlike_kinds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hypnogram_edf(tmp_path / "a.edf", [(0, 300, "Sleep stage W"), (300, 600, "Sleep stage 2")])
    write(tmp_path, "b.txt", ["W"] * 12 + ["N2"] * 18)
    assert main(["agreement", str(tmp_path / "a.edf"), str(tmp_path / "b.txt"), "--out", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out/agreement.json").read_text())["confusion"][2][:3] == [2, 0, 18]
    assert main(["agreement", str(tmp_path / "a.edf"), str(tmp_path), "--out", str(tmp_path / "no")]) == 2
    assert main(["agreement", str(tmp_path / "a.edf"), str(tmp_path / "none"), "--out", str(tmp_path / "no")]) == 2
    capsys.readouterr()


def test_the_epochs_that_both_cover() -> None:
    one, other = Hypnogram(["W", "N1", "N2"], 30.0, 60.0), Hypnogram(["N1", "N2", "R"], 30.0, 90.0)
    assert common(one, other) == (["N1", "N2"], ["N1", "N2"]) and common(other, one) == (["N1", "N2"], ["N1", "N2"])
    for onset in (70.0, 600.0):
        with pytest.raises(UserError):
            common(one, Hypnogram(["W"], 30.0, onset))
