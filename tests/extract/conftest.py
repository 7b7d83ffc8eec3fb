"""A corpus of tones, and a small encoder with random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sigssl.features import LogMel
from sigssl.methods import FrameEncoder
from sigssl.nn import TransformerEncoder
from sigssl.training.checkpoint import save_encoder

RATE = 16000


def tone(seconds: float, seed: int, rate: int = RATE) -> np.ndarray:
    """A noisy tone, float32 [n]."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    return (0.1 * np.sin(2 * np.pi * (200 + 37 * seed % 2000) * time) + 0.01 * rng.standard_normal(len(time))).astype(np.float32)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a data directory of `count` FLAC files of 0.2 s to `longest` s, two speakers; equal arguments give one folder."""
    made: dict[tuple[int, float], Path] = {}

    def make(count: int = 30, longest: float = 1.0) -> Path:
        if (count, longest) in made:
            return made[count, longest]
        folder = tmp_path_factory.mktemp("corpus")
        (folder / "wav").mkdir()
        ids = [f"spk{n % 2}_{n:04d}" for n in range(count)]
        for n, id in enumerate(ids):
            seconds = 0.2 + (longest - 0.2) * ((n * 7919) % count) / count
            soundfile.write(folder / "wav" / f"{id}.flac", tone(seconds, n), RATE)
        (folder / "wav.scp").write_text("".join(f"{id} {folder}/wav/{id}.flac\n" for id in sorted(ids)))
        (folder / "utt2spk").write_text("".join(f"{id} {id[:4]}\n" for id in sorted(ids)))
        made[count, longest] = folder
        return folder

    return make


@pytest.fixture(scope="session")
def encoder() -> FrameEncoder:
    """Two layers of width 16 on 20 mels; windows of 2 s."""
    torch.manual_seed(3)
    body = TransformerEncoder(input_dim=20, dim=16, layers=2, heads=2, ffn=32)
    return FrameEncoder(LogMel(n_mels=20), body, window=200, overlap=100).eval()


@pytest.fixture(scope="session")
def model(encoder: FrameEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoder's exported folder."""
    return save_encoder(tmp_path_factory.mktemp("model") / "encoder", encoder, {"data": "tones"})


def arks(folder: Path) -> dict[str, bytes]:
    """The files of a finished output folder by name, with the folder's own name left out of what they hold."""
    names = {path.name for path in folder.iterdir()}
    assert not [name for name in names if name.startswith(".tmp") or name == ".raw"], names
    name = str(folder.resolve()).encode()
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "journal.jsonl")
    return {str(path.relative_to(folder)): path.read_bytes().replace(name, b"OUT") for path in files}


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    """See :func:`arks`."""
    return arks
