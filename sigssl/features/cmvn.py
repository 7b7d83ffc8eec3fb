"""Cepstral mean and variance normalisation: per utterance, speaker or corpus, with statistics that add up."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

CMVN = Literal["utterance", "mean"] | None


class Moments:
    """Mean and centred sum of squares of frames that arrive in pieces, in double precision (Chan et al. 1979)."""

    def __init__(self, dim: int) -> None:
        self.count = 0
        self.mean = torch.zeros(dim, dtype=torch.float64)
        self.squares = torch.zeros(dim, dtype=torch.float64)

    def add(self, frames: Tensor) -> None:
        """Take in frames [t, F]."""
        new = len(frames)
        if new == 0:
            return
        x = frames.double()
        mean = x.mean(0)
        shift = mean - self.mean
        total = self.count + new
        self.squares += (x - mean).square().sum(0) + shift.square() * (self.count * new / total)
        self.mean += shift * (new / total)
        self.count = total

    def standardisation(self, *, variance: bool) -> tuple[Tensor, Tensor]:
        """Mean [F] to subtract and scale [F] to multiply by, float32."""
        std = (self.squares / max(self.count - 1, 1)).sqrt()
        scale = 1 / (std + 1e-10) if variance else torch.ones_like(std)
        return self.mean.float(), scale.float()
