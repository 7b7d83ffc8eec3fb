"""Small nights for tests: stages that dwell, and features that tell them only together with their neighbours."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sigssl.data.feature_nights import Night


def toy_nights(subjects: int = 8, epochs: int = 80, width: int = 30, noise: float = 2.0, seed: int = 0) -> list[Night]:
    """One night of each subject; log powers below 0 as in the data set."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((5, width))
    nights = []
    for number in range(subjects):
        stages = np.repeat(rng.integers(0, 5, epochs // 8 + 1), 8)[:epochs]
        features = (centres[stages] + noise * rng.standard_normal((epochs, width)) - 3).astype(np.float32)
        stages = stages.astype(np.int64)
        stages[5] = -1
        nights.append(Night(f"SC{number:02d}1", f"SC{number:02d}", features, stages))
    return nights


def write_folder(root: Path, nights: list[Night]) -> Path:
    """The layout of sleepedf_bandpower_sc153."""
    (root / "records").mkdir(parents=True)
    with (root / "records.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "record", "subject", "night"])
        for night in nights:
            path = f"records/{night.id}.npz"
            labels = np.where(night.stages < 0, -100, night.stages).astype(np.int16)
            np.savez_compressed(root / path, features=night.features.reshape(-1, 3, 10), labels=labels)
            writer.writerow([path, night.id, night.subject, 1])
    return root


class ToyEncoder(nn.Module):
    """An epoch encoder with batch norm, dropout and two blocks."""

    def __init__(self, dim: int = 6) -> None:
        super().__init__()
        self.dim, self.sample_rate, self.channels, self.epoch_seconds = dim, 10, 1, 3.0
        self.norm0 = nn.BatchNorm1d(1)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(30, 30), nn.Dropout(0.5)) for _ in range(2)])
        self.norm = nn.LayerNorm(30)
        self.out = nn.Linear(30, dim)

    def trainable(self, part: str) -> list[nn.Parameter]:
        if part == "last_block":
            return [*self.blocks[-1].parameters(), *self.norm.parameters()]
        return list(self.parameters()) if part == "full" else []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.norm0(x)[:, 0]
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.out(self.norm(hidden))
