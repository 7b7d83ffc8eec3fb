"""Random windows of nights in memory, for training sequence heads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sigssl.data.feature_nights import Night
from sigssl.downstream.tuning import Tuned

SHORTEST = 10  # epochs that a window holds at least, unless the night has fewer


class Corpus:
    """Nights in memory as tensors, and random windows of them."""

    def __init__(self, nights: Sequence[Night], tuned: Tuned | None = None) -> None:
        self.nights = list(nights)
        self.x = [torch.from_numpy(night.features) for night in nights]
        self.y = [torch.from_numpy(night.stages) for night in nights]
        self.samples = tuned.samples if tuned is not None else 0  # of an epoch, where x are signals [C, N]

    def windows(self, size: int, generator: np.random.Generator) -> list[tuple[int, int, int]]:
        """One pass: every night is cut into windows at a random offset, in random order: (night, first epoch, end)."""
        found = []
        for number, stages in enumerate(self.y):
            start, epochs = int(generator.integers(-size + 1, 1)), len(stages)
            for first in range(start, epochs, size):
                low, high = max(first, 0), min(first + size, epochs)
                if high - low >= min(SHORTEST, size, epochs):
                    found.append((number, low, high))
        order = generator.permutation(len(found))
        return [found[i] for i in order]

    def batch(self, windows: Sequence[tuple[int, int, int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Features [B, T, F] (or epochs of signal [B, T, C, S]), stages [B, T] (-1 in the padding) and lengths [B]."""
        pieces = [self.piece(*window) for window in windows]
        stages = [self.y[n][a:b] for n, a, b in windows]
        lengths = torch.tensor([len(s) for s in stages])
        return padded(pieces), padded(stages, -1.0), lengths

    def piece(self, night: int, start: int, end: int) -> Tensor:
        """Epochs of a night: features [T, F], or signal [T, C, S]."""
        if not self.samples:
            return self.x[night][start:end]
        part = self.x[night][:, start * self.samples : end * self.samples]
        return part.unflatten(1, (end - start, self.samples)).transpose(0, 1)


def padded(sequences: Sequence[Tensor], value: float = 0.0) -> Tensor:
    """Sequences of unequal length, one per row."""
    return nn.utils.rnn.pad_sequence(list(sequences), batch_first=True, padding_value=value)
