"""Cutting signals into overlapping frames, without work on padding.

A signal is first extended at its own ends by reflection (`left` and `right` samples), then cut into frames of `window`
samples every `hop`: `1 + (N + left + right - window) // hop` of them. Whatever lies behind an item's length is never read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float32]

CHUNK_ROWS = 512  # frames worked on at once on a processor: their spectra stay in its second-level cache
DEVICE_ROWS = 1 << 16  # and on an accelerator, where this only bounds memory (about 300 MB)


class Piece(NamedTuple):
    """A run of frames of one item within a chunk."""

    item: int
    first: int  # its first frame
    frames: int
    row: int  # where it begins in the chunk


@dataclass(frozen=True)
class Framing:
    """How a signal becomes frames.

    Attributes:
        window: samples in a frame.
        hop: samples from one frame to the next.
        left: samples added before the signal by reflection.
        right: samples added after it.
        repeat_edge: whether the reflection repeats the outermost sample (Kaldi) or not (`torch.stft`).
    """

    window: int
    hop: int
    left: int = 0
    right: int = 0
    repeat_edge: bool = False

    @overload
    def count(self, samples: int) -> int: ...
    @overload
    def count(self, samples: Tensor) -> Tensor: ...
    def count(self, samples: int | Tensor) -> int | Tensor:
        """Frames of a signal of `samples` samples; 0 for an empty one."""
        if isinstance(samples, Tensor):
            whole = (samples + (self.left + self.right - self.window)).div(self.hop, rounding_mode="floor") + 1
            return whole.clamp(min=0) * (samples > 0)
        return max(0, 1 + (samples + self.left + self.right - self.window) // self.hop) if samples > 0 else 0

    def reflected(self, position: Tensor, samples: Tensor) -> Tensor:
        """Where each `position` of the extended signal (0 = first true sample) lies in a signal of `samples` samples.

        The reflection goes on for as long as it must, so that a signal shorter than it is extended too.
        """
        if self.repeat_edge:
            inside = position.remainder((2 * samples).clamp(min=1))
            return torch.minimum(inside, 2 * samples - 1 - inside).clamp(min=0)
        period = (2 * samples - 2).clamp(min=1)
        inside = position.remainder(period)
        return torch.minimum(inside, period - inside).clamp(min=0)

    def edges(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """The reflected samples of each item: [B, left + right]."""
        if self.left + self.right == 0 or waveform.shape[1] == 0:
            return waveform.new_zeros(len(lengths), self.left + self.right)
        device = waveform.device
        before = torch.arange(-self.left, 0, device=device).expand(len(lengths), -1)
        after = torch.arange(self.right, device=device) + lengths[:, None]
        index = self.reflected(torch.cat([before, after], 1), lengths[:, None])
        return waveform.gather(1, index)

    def view(self, flat: Tensor, rows: int) -> Tensor:
        """`rows` overlapping frames of a contiguous signal as a view [rows, window]."""
        return flat.as_strided((rows, self.window), (self.hop, 1))

    def chunks(
        self, waveform: Tensor, lengths: Tensor, gains: list[float], rows: int = CHUNK_ROWS
    ) -> Iterator[tuple[Tensor, list[Piece]]]:
        """Frames of a batch on a processor, in chunks of at most `rows`, many short items or part of a long one in each.

        Args:
            waveform: signals [B, S].
            lengths: valid samples [B].
            gains: what each signal is multiplied by on the way.
            rows: frames in a chunk.

        Yields:
            a view [M, window] over a buffer that the next chunk overwrites, and the pieces it is made of; rows that belong
            to no piece straddle two items and mean nothing.
        """
        overlap = -(-self.window // self.hop) - 1  # rows lost where two pieces meet
        buffer = torch.zeros((rows + overlap) * self.hop + self.window)
        signals, target, edges = waveform.numpy(), buffer.numpy(), self.edges(waveform, lengths).numpy()
        pieces: list[Piece] = []
        row = 0
        for item, length in enumerate(lengths.tolist()):
            sources = (edges[item, : self.left], signals[item, :length], edges[item, self.left :])
            first, total = 0, self.count(length)
            while first < total:
                count = min(total - first, rows - row)
                if count < min(total - first, rows // 8):  # not worth a fragment
                    yield self.view(buffer, pieces[-1].row + pieces[-1].frames), pieces
                    pieces, row = [], 0
                    continue
                span = (count - 1) * self.hop + self.window
                _fill(target[row * self.hop :][:span], sources, first * self.hop, gains[item])
                pieces.append(Piece(item, first, count, row))
                first, row = first + count, row + count + overlap
        if pieces:
            yield self.view(buffer, pieces[-1].row + pieces[-1].frames), pieces

    def grid(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, int]:
        """Frames of a batch on an accelerator, by one gather and without waiting for the lengths to arrive.

        Returns:
            the extended items end to end in slots of whole hops, flat, with room for the last frame; and frames per slot.
        """
        longest = waveform.shape[1]
        slot = -(-(longest + self.left + self.right) // self.hop)
        position = torch.arange(slot * self.hop, device=waveform.device) - self.left
        index = self.reflected(position.expand(len(lengths), -1), lengths[:, None]).clamp(max=max(longest - 1, 0))
        flat = waveform.gather(1, index).flatten()
        return torch.cat([flat, flat.new_zeros(self.window)]), slot

    def stream(self, blocks: Iterable[Tensor], rows: int = CHUNK_ROWS) -> Iterator[Tensor]:
        """Frames [m, window], m <= rows, of one signal that arrives in blocks [n] of any size; memory is bounded by the blocks."""
        held = torch.empty(0)
        for part in self._extended(blocks):
            held = torch.cat([held, part])
            ready = max(0, (len(held) - self.window) // self.hop + 1)
            for first in range(0, ready, rows):
                yield self.view(held[first * self.hop :], min(rows, ready - first))
            held = held[ready * self.hop :]

    def _extended(self, blocks: Iterable[Tensor]) -> Iterator[Tensor]:
        """The signal with its reflections, piece by piece; the tail that the right one needs is held back."""
        need = max(self.left, self.right) + 1
        tail = torch.empty(0)
        started = False
        for block in blocks:
            tail = torch.cat([tail, block])
            if not started and len(tail) >= need:
                started = True
                yield self._mirror(tail, -self.left, 0)
            if started and len(tail) > need:
                yield tail[:-need]
                tail = tail[-need:]
        if len(tail):
            yield self._mirror(tail, 0 if started else -self.left, len(tail) + self.right)

    def _mirror(self, signal: Tensor, start: int, stop: int) -> Tensor:
        """Samples `start` to `stop` of the extension of a whole `signal`."""
        return signal[self.reflected(torch.arange(start, stop), torch.tensor(len(signal)))]


def _fill(target: Array, sources: tuple[Array, ...], begin: int, gain: float) -> None:
    """Write what `sources` are end to end, from `begin` on and times `gain`, into `target` (NumPy: a tenth of torch's overhead)."""
    low = -begin
    for source in sources:
        start, stop = max(low, 0), min(low + len(source), len(target))
        if start < stop:
            np.multiply(source[start - low : stop - low], gain, out=target[start:stop])
        low += len(source)
