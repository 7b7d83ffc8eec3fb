"""Time derivatives of features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


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
        self.order = order
        self.window = window
        self.edges = edges

    def forward(
        self, frames: Float[Tensor, "batch frames dim"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch frames wide"]:
        """Frames [B, T, F] with `lengths` [B] -> [B, T, F * (order + 1)], 0 behind the lengths."""
        time = torch.arange(frames.shape[1], device=frames.device)
        last = (lengths - 1).clamp(min=0)[:, None]
        valid = (time < lengths[:, None])[..., None]
        parts = [frames]
        for order in range(1, self.order + 1):
            source, taps = (parts[-1], self._taps(1)) if self.edges == "each" else (frames, self._taps(order))
            reach = len(taps) // 2
            total = torch.zeros_like(frames)
            for k, tap in zip(range(-reach, reach + 1), taps.tolist(), strict=True):
                if tap:
                    index = torch.minimum((time + k).clamp(min=0)[None], last)
                    total += tap * source.gather(1, index[..., None].expand_as(source))
            parts.append(torch.where(valid, total, 0.0))
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

    def _taps(self, order: int) -> Tensor:
        """Filter of a derivative over the frames themselves: the first-order filter convolved with itself."""
        k = torch.arange(-self.window, self.window + 1, dtype=torch.float64)
        first = k / k.square().sum()
        taps = torch.ones(1, dtype=torch.float64)
        for _ in range(order):
            full = torch.zeros(len(taps) + 2 * self.window, dtype=torch.float64)
            for i, value in enumerate(first.tolist()):
                full[i : i + len(taps)] += value * taps
            taps = full
        return taps
