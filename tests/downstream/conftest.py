"""A small labelled data directory that any spectral feature solves: every class is a tone, every speaker a loudness."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sigssl.data.datadir import DataDir

TONES = {"low": 300.0, "mid": 1000.0, "top": 3000.0}
RATE = 16000


@pytest.fixture(scope="session")
def make_tones() -> Callable[..., DataDir]:
    return write_tones


def write_tones(folder: Path, speakers: int = 4, each: int = 3, phones: bool = False) -> DataDir:
    """`each` utterances of every class from every speaker; with `phones`, one utterance runs through all classes."""
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    data = DataDir(folder, segments=None)
    for speaker in range(speakers):
        for label in ["all"] * each if phones else sorted(TONES) * each:
            name = f"s{speaker}-{len(data.wav):03d}"
            sequence = generator.permutation(sorted(TONES)) if phones else [label]
            seconds = 0.2 + 0.1 * generator.integers(0, 3)
            time = np.arange(round(seconds * RATE)) / RATE
            signal = np.concatenate([np.sin(2 * np.pi * TONES[tone] * time) for tone in sequence])
            signal = (0.1 + 0.1 * speaker) * signal + 0.003 * generator.normal(size=len(signal))
            soundfile.write(folder / f"{name}.wav", signal, RATE)
            data.wav[name], data.utt2spk[name] = str(folder / f"{name}.wav"), f"s{speaker}"
            data.utt2dur[name] = len(signal) / RATE
            if phones:
                data.phones[name] = [tone for tone in sequence for _ in range(round(seconds * 100))]
            else:
                data.utt2label[name] = label
    data.write()
    return data
