"""Fixed sinusoidal positions of any length."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


def sinusoids(frames: int, dim: int) -> Float[Tensor, "frames dim"]:
    """Vaswani et al. 2017, section 3.5, as BERT-style speech encoders lay it out: sine on even channels, cosine on odd ones.

    Args:
        frames: how many positions, from 0.
        dim: channels; the angle of channel i is `position / 10000^(2 floor(i/2) / dim)`.

    Returns:
        float32 [frames, dim], computed in float64 so that position 20000 is as exact as position 1.
    """
    channel = torch.arange(dim, dtype=torch.float64)
    angle = torch.arange(frames, dtype=torch.float64)[:, None] / 10000.0 ** (2 * (channel // 2) / dim)
    angle[:, 0::2] = angle[:, 0::2].sin()
    angle[:, 1::2] = angle[:, 1::2].cos()
    return angle.float()


class SinusoidalPositions(nn.Module):
    """A table of :func:`sinusoids` that grows when a longer input comes; it is not part of the state dict."""

    table: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("table", sinusoids(0, dim), persistent=False)

    def forward(self, frames: int) -> Float[Tensor, "frames dim"]:
        """The first `frames` positions [frames, dim], on the module's device."""
        if frames > len(self.table):
            size = max(512, 2 ** (frames - 1).bit_length())
            self.table = sinusoids(size, self.dim).to(self.table)
        return self.table[:frames]
