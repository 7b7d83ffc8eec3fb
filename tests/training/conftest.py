"""A few synthetic recordings and a very small TERA, for whole runs in a second or two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from sigssl.data.datadir import DataDir
from sigssl.features import LogMel
from sigssl.methods import TERA, FrameEncoder
from sigssl.nn import TransformerEncoder
from sigssl.training.options import DataOptions, OptimOptions, TrainerOptions
from sigssl.views import Alter

FILES = 24


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory of noises of 0.4 to 1.6 seconds."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    wav = {}
    for i in range(FILES):
        path = folder / f"u{i:02d}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(int(16000 * rng.uniform(0.4, 1.6))), 16000)
        wav[path.stem] = str(path)
    DataDir(folder, wav=wav, utt2spk={id: f"s{int(id[1:]) % 4}" for id in wav}).write()
    return folder


@pytest.fixture
def tera() -> Callable[..., TERA]:
    """Makes the same small TERA each time."""

    def make(dropout: float = 0.1) -> TERA:
        torch.manual_seed(3)  # the seed of the runs below, which the command line seeds with
        body = TransformerEncoder(input_dim=20, dim=16, layers=1, heads=2, ffn=32, dropout=dropout)
        return TERA(FrameEncoder(LogMel(n_mels=20), body, window=200, overlap=20), Alter())

    return make


@pytest.fixture
def sections(recordings: Path) -> Callable[..., dict[str, Any]]:
    """The options of a run of six updates of two passes each; keywords override."""

    def make(**changes: Any) -> dict[str, Any]:
        data: dict[str, Any] = {"train": str(recordings), "batch_seconds": 4.0, "crop_seconds": 1.0, "workers": 0}
        optim: dict[str, Any] = {"lr": 1e-2, "seconds_per_update": 8.0}
        trainer: dict[str, Any] = {"updates": 6, "seed": 3, "accelerator": "cpu", "devices": 1, "progress": False}
        trainer |= {"log_every": 2, "save_every": 2, "validate_every": 3, "meter_every": 4}
        for section in (data, optim, trainer):
            section |= {key: changes.pop(key) for key in list(changes) if key in _fields(section is data, section is optim)}
        assert not changes, changes
        return {"data": DataOptions(**data), "optim": OptimOptions(**optim), "trainer": TrainerOptions(**trainer)}

    return make


def _fields(data: bool, optim: bool) -> set[str]:
    return set((DataOptions if data else OptimOptions if optim else TrainerOptions).__dataclass_fields__)
