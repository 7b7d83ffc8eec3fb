"""Probes on stored signals: log power, waveform, encoders of epochs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sigssl.cli.main import main
from sigssl.data.ark import ArkWriter
from sigssl.data.datadir import DataDir, Utterance
from sigssl.data.io import read_json, write_json
from sigssl.downstream.arms import make_arms, on_store
from sigssl.downstream.settings import ProbeSettings
from sigssl.downstream.stored import Store, encoded, log_power, waveform
from sigssl.errors import UserError

RATE = 100


def write_store(folder: Path, signals: dict[str, np.ndarray], kind: str = "signal") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    width = next(iter(signals.values())).shape[1]
    with ArkWriter(folder) as writer:
        for key, signal in signals.items():
            writer.write(key, signal.astype(np.float32))
    info = {"kind": kind, "dim": width, "frame_shift": 1 / RATE, "sample_rate": RATE, "unit": "uV", "config": {}}
    write_json(folder / "feats.json", {**info, "channels": [f"c{n}" for n in range(width)]})
    return folder


def utterance(key: str) -> Utterance:
    return Utterance(key, "/x.edf", 0.0, 1.0, "p", 1.0)


def test_log_power_finds_a_rhythm_and_its_channel() -> None:
    t = np.arange(200) / RATE
    signal = np.random.default_rng(0).normal(0, 0.1, (200, 2)).astype(np.float32)
    signal[:, 1] += 10 * np.sin(2 * np.pi * 10 * t)
    rows = log_power(signal, RATE)
    assert rows.shape == (12,) and rows.argmax() == 2 * 2 + 1  # alpha of the second channel
    assert log_power(1000 * signal, RATE) - rows == pytest.approx(2 * np.log(1000), abs=0.05)
    assert log_power(signal[:, :1], 50).shape == (4,), "bands that the rate does not hold are left out"


def test_waveform_is_the_signal_without_its_mean() -> None:
    signal = np.arange(40, dtype=np.float32).reshape(20, 2)
    rows = waveform(signal, RATE)
    assert rows.tolist() == [*(np.arange(5) * 8.0 - 16), *(np.arange(5) * 8.0 - 16)]


class Sum(nn.Module):
    """Sums each channel of an epoch of 0.5 s."""

    dim, sample_rate, channels, epoch_seconds = 2, RATE, 2, 0.5

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(-1)


def test_encoders_get_epochs_and_their_vectors_are_averaged() -> None:
    signal = np.stack([np.arange(100), np.ones(100)], 1).astype(np.float32)
    assert encoded(Sum())(signal, RATE).tolist() == [99 * 100 / 2 / 2, 50.0]
    assert encoded(Sum())(signal[:40], RATE)[1] == 50.0, "a short signal is filled up"
    with pytest.raises(UserError, match="holds 2 channels at 50 Hz, the encoder takes 2 at 100 Hz"):
        encoded(Sum())(signal, 50)


def test_stores_that_do_not_fit(tmp_path: Path) -> None:
    signals = {"a": np.zeros((100, 1)), "b": np.zeros((60, 1))}
    store = Store(write_store(tmp_path / "s", signals))
    assert store.rows([utterance("a")], log_power).shape == (1, 1, 6)
    with pytest.raises(UserError, match="lacks 1 of 1 utterances, the first 'c'"):
        store.rows([utterance("c")], log_power)
    with pytest.raises(UserError, match="windows must be of one length"):
        store.rows([utterance("a"), utterance("b")], waveform)
    with pytest.raises(UserError, match="holds logmel, not signals"):
        Store(write_store(tmp_path / "t", signals, "logmel"))
    arms = make_arms([], ProbeSettings(baselines=["logmel"]))
    with pytest.raises(UserError, match="baseline 'logmel' is for sound"):
        on_store(arms)


def test_probe_of_stored_windows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    keys = [f"p{person}-{n:02d}" for person in range(4) for n in range(12)]
    kind = {key: "slow" if n % 2 else "fast" for n, key in enumerate(keys)}
    t = np.arange(100) / RATE
    signals = {
        key: rng.normal(0, 1, (100, 2))
        + 2 * np.sin(2 * np.pi * (6 if kind[key] == "slow" else 16) * t + rng.uniform(0, 6))[:, None]
        for key in keys
    }
    data = DataDir(tmp_path / "data", wav={k: f"/{k}.edf" for k in keys}, utt2spk={k: k[:2] for k in keys}, utt2label=kind)
    data.write()
    store = write_store(tmp_path / "store", signals)
    words = ["--data", str(data.path), "--store", str(store), "--heads", "[logistic]", "--baselines", "[logpower,waveform]"]
    assert main(["probe", *words, "--bootstrap", "100", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/table.md").exists() and torch.get_num_threads()
    arms = {row["arm"]: row["accuracy"]["mean"] for row in read_json(tmp_path / "out/metrics.json")["rows"]}
    assert arms["logpower"] > 0.9 > arms["waveform"]
