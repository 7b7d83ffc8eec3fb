"""Small audio files, and what every prepared directory must satisfy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sigssl.data import audio
from sigssl.data.datadir import DataDir
from sigssl.data.validate import validate


@pytest.fixture
def noise() -> Callable[..., Path]:
    """Write a short file of noise: `noise(path, seconds=0.1, sample_rate=8000)`."""

    def write(path: Path, seconds: float = 0.1, sample_rate: int = 8000) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = np.random.default_rng(len(path.name)).normal(0, 0.1, round(seconds * sample_rate))
        soundfile.write(path, samples, sample_rate)
        return path

    return write


@pytest.fixture
def check() -> Callable[[dict[str, DataDir]], None]:
    """Assert that prepared parts are what Kaldi's tools and ours expect of a data directory."""

    def assert_sound(made: dict[str, DataDir]) -> None:
        for name, directory in made.items():
            assert directory.path.name == name
            report = validate(directory.path, depth="header")
            errors = [finding for finding in report.findings if finding.level == "error"]
            assert not errors, errors
            back = DataDir.read(directory.path)
            for table in ("wav", "segments", "utt2spk", "text", "utt2label", "phones"):
                assert getattr(back, table) == getattr(directory, table), table
            ids = back.ids()
            by_speaker = sorted(ids, key=lambda key: (back.utt2spk[key], key))
            assert ids == by_speaker, "ids must begin with the speaker, so that both orders agree"
            first = back.utterances()[0]
            samples = audio.read(first.path, first.start, first.end)
            rate = audio.info(first.path).sample_rate
            assert samples.shape[1] / rate == pytest.approx(first.duration, abs=0.002)
            for key, labels in back.phones.items():
                assert len(labels) == pytest.approx(back.utt2dur[key] * 100, abs=1)

    return assert_sound
