"""Time derivatives of features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sigssl.errors import UserError


class Deltas(nn.Module):
    """Append derivatives up to `order`, as Kaldi's add-deltas does.

    The first is `sum_k k x[t + k] / sum_k k^2` over k = -window..window.

    Args:
        order: highest derivative; 2 triples the width.
        window: frames on each side.
        edges: what stands beyond the first and last valid frame. "kaldi": the frames themselves are repeated and the higher
            derivative is one wide filter over them; "each": every derivative is repeated at its own ends before the next is
            taken (torchaudio's ComputeDeltas in turn, as s3prl does). They differ in the outermost frames only.
    """

    def __init__(self, order: int = 2, window: int = 2, edges: Literal["kaldi", "each"] = "kaldi") -> None:
        super().__init__()
        if order < 1 or window < 1:
            raise UserError(f"Deltas: order {order} and window {window}; expected at least 1 of each.")
        self.order = order
        self.window = window
        self.edges = edges

    def forward(
        self, frames: Float[Tensor, "batch frames dim"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch frames wide"]:
        """Frames [B, T, F] with `lengths` [B] -> [B, T, F * (order + 1)], 0 behind the lengths."""
        valid = (torch.arange(frames.shape[1], device=frames.device) < lengths[:, None])[..., None]
        parts = [frames]
        for order in range(1, self.order + 1):
            source, taps = (parts[-1], self._taps(1)) if self.edges == "each" else (frames, self._taps(order))
            parts.append(torch.where(valid, _filtered(source, valid, lengths, taps), 0.0))
        return torch.cat(parts, -1)

    def stream(self, blocks: Iterator[Tensor]) -> Iterator[Tensor]:
        """The same over frames [t, F] that arrive in blocks of any size."""
        reach = self.order * self.window
        held = None
        done = 0  # frames of `held` already given out, kept as context
        for block in blocks:
            held = block.clone() if held is None else torch.cat([held, block])
            ready = len(held) - reach
            if ready > done:
                wide = self(held[None], torch.tensor([len(held)]))[0]
                yield wide[done:ready]
                drop = max(0, ready - 2 * reach)
                held, done = held[drop:], ready - drop
        if held is not None and len(held) > done:
            yield self(held[None], torch.tensor([len(held)]))[0][done:]

    def _taps(self, order: int) -> list[float]:
        """Filter of a derivative over the frames themselves: the first-order filter convolved with itself."""
        k = np.arange(-self.window, self.window + 1)
        taps = np.ones(1)
        for _ in range(order):
            taps = np.convolve(taps, k / np.square(k).sum())
        return [float(tap) for tap in taps]


def _filtered(frames: Tensor, valid: Tensor, lengths: Tensor, taps: list[float]) -> Tensor:
    """Frames [B, T, F] filtered over time, the first and last valid frame of each item repeated beyond it."""
    reach, time = len(taps) // 2, frames.shape[1]
    if time == 0:
        return frames
    last = frames.gather(1, (lengths - 1).clamp(min=0)[:, None, None].expand(-1, -1, frames.shape[2]))
    extended = torch.cat([frames[:, :1].expand(-1, reach, -1), torch.where(valid, frames, last), last.expand(-1, reach, -1)], dim=1)
    total = torch.zeros_like(frames)
    for first, tap in enumerate(taps):
        if tap:
            total.add_(extended[:, first : first + time], alpha=tap)
    return total
