"""Spectra and band powers of nights beside one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sigssl.cli.main import main
from sigssl.corpora import synthetic_psg
from sigssl.data.io import read_json
from sigssl.downstream.night_powers import Powers, read_powers, transfer, welch
from sigssl.errors import UserError


def test_density_of_a_sine_and_of_noise() -> None:
    t = np.arange(60 * 100) / 100
    density = welch((10 * np.sin(2 * np.pi * 10 * t)).astype(np.float32), 3000)
    assert density.shape == (2, 201) and density.argmax(1).tolist() == [40, 40]
    assert density.sum(1) * 0.25 == pytest.approx(50.0, rel=0.01)
    noise = welch(np.random.default_rng(0).normal(0, 2, 300000).astype(np.float32), 3000)
    assert noise[:, 2:-2].mean() == pytest.approx(4 / 50, rel=0.02)


def test_transfer_within_a_set_holds_persons_apart() -> None:
    rng = np.random.default_rng(0)
    stages = np.tile(np.arange(5), 60)
    persons = np.repeat([f"p{n}" for n in range(5)], 60)
    marked = np.concatenate([np.eye(5)[stages], rng.normal(size=(300, 2))], 1)
    told = Powers("a", marked, stages, persons)
    assert transfer(told, told)["accuracy"] == 1.0
    by_person = rng.normal(size=(300, 4)) + 100 * np.eye(5)[np.repeat(np.arange(5), 60)][:, :4]
    own = Powers("b", by_person, np.repeat(np.arange(5), 60), persons)
    assert transfer(own, own)["accuracy"] == 0.0, "a class that only one person has cannot be told"
    hidden = Powers("c", marked, np.where(np.arange(300) < 5, -1, stages), persons)
    assert transfer(told, hidden)["epochs"] == 295


def test_figures_and_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("edfio")
    synthetic_psg.prepare(None, tmp_path / "data", nights=3, subjects=3, hours=0.5, nj=1)
    folder = tmp_path / "powers"
    (folder / "records").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for n in range(3):
        np.savez(folder / f"records/{n}.npz", features=rng.normal(size=(50, 3, 10)), labels=np.arange(50) % 6 - 1)
    (folder / "records.csv").write_text("path,subject\n" + "".join(f"records/{n}.npz,p{n}\n" for n in range(3)))
    there = str(tmp_path / "data/all")
    words = ["--beside", there, "--beside-montage", "sleep_edf", "--beside-channel", "Pz-Oz", "--bandpower", str(folder)]
    assert main(["spectra", there, *words, "--out", str(tmp_path / "out")]) == 0
    assert "| trained on | tested on |" in capsys.readouterr().out
    numbers = read_json(tmp_path / "out/metrics.json")
    assert numbers["these nights to these nights"]["accuracy"] > 0.5 > numbers["real nights to real nights"]["accuracy"]
    for name in ("spectra.png", "powers.png"):
        assert (tmp_path / "out" / name).read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(UserError, match=r"records.csv: no such file"):
        read_powers(tmp_path, "x")
