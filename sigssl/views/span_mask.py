"""SpecAugment (Park et al. 2019) on features of any kind: stretches of time and bands of channels are set to 0."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from sigssl.errors import UserError


class SpanMask:
    """Mask stretches of time and bands of channels, each item's own.

    Args:
        times: stretches per item.
        frames: the longest stretch; lengths are drawn from 0 to this.
        share: a stretch is at most this share of its item (the paper's p).
        channels: bands per item.
        width: the widest band as a share of the channels; widths are drawn from 0 to this.

    Raises:
        UserError: a number below 0, or a share above 1.
    """

    def __init__(self, times: int = 2, frames: int = 40, share: float = 0.2, channels: int = 2, width: float = 0.1) -> None:
        if min(times, frames, channels) < 0 or not (0 <= share <= 1 and 0 <= width <= 1):
            raise UserError(
                f"SpanMask: numbers from 0, shares from 0 to 1; got times {times}, frames {frames}, share {share}, "
                f"channels {channels}, width {width}."
            )
        self.times, self.frames, self.share, self.channels, self.width = times, frames, share, channels, width

    def __call__(
        self, x: Float[Tensor, "batch time dim"], lengths: Int[Tensor, " batch"], generator: Generator
    ) -> Float[Tensor, "batch time dim"]:
        """A masked copy.

        Args:
            x: features [B, T, D].
            lengths: valid frames; stretches lie within them.
            generator: of the draws, on the device of `x`.
        """
        batch, time, dim = x.shape
        longest = (lengths * self.share).long().clamp(max=self.frames)
        hidden = spans(lengths, longest, self.times, time, generator)[:, :, None]
        dims = torch.full((batch,), dim, device=x.device)
        hidden = hidden | spans(dims, (dims * self.width).long(), self.channels, dim, generator)[:, None, :]
        return x.masked_fill(hidden, 0.0)


def spans(
    lengths: Int[Tensor, " batch"], longest: Int[Tensor, " batch"], count: int, size: int, generator: Generator
) -> Bool[Tensor, "batch size"]:
    """Which of `size` places lie in one of `count` spans of 0 to `longest` places within 0..`lengths` [B, size]."""
    draws = torch.rand(2, len(lengths), count, generator=generator, device=lengths.device)
    width = (draws[0] * (longest[:, None] + 1)).long().minimum(longest[:, None])
    room = lengths[:, None] - width
    start = (draws[1] * (room + 1)).long().minimum(room)
    place = torch.arange(size, device=lengths.device)
    return ((place >= start[:, :, None]) & (place < (start + width)[:, :, None])).any(1)
