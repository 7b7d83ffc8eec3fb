"""How the pure torch engine cuts a scan up: items of the batch, spans of time, chunks that fit a core's cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from sigssl.nn.scan.problem import ScanGrads, ScanInput, state_dtype

SPAN = 64  # steps between the states that are kept
STEP_BYTES, CHUNK_BYTES = 1 << 15, 3 << 17  # of one step's and one chunk's states; more falls out of L2, less pays more calls


class Buffer(NamedTuple):
    """Room for a chunk's states [T + 1, B, G, N, E], and its steps as views made once: making them costs as much as using them."""

    whole: Tensor
    steps: tuple[Tensor, ...]


class Work:
    """How a scan is cut up, and the buffers that every part of it uses in turn.

    Args:
        s: the scan.
        buffers: how many.
        size: how many times as many items at once as is best for a backward pass, which uses more buffers.
    """

    def __init__(self, s: ScanInput, buffers: int, size: int = 1) -> None:
        self.scan = s
        self.batch, self.length, self.channels = s.u.shape
        self.groups, self.states = s.B.shape[2:]
        self.items, self.steps = _tiling(s, size)
        self.A = s.A.view(self.groups, -1, self.states).transpose(1, 2).contiguous()
        rows = min(self.steps, self.length) + 1
        shape = (rows, self.items, self.groups, self.states, self.channels // max(1, self.groups))
        self.buffers = [torch.empty(shape, dtype=state_dtype(s.u), device=s.u.device) for _ in range(buffers)]

    def parts(self) -> Iterator[tuple[slice, ScanInput, list[Buffer]]]:
        """Items of the batch: which, their inputs, and the buffers in their size."""
        s = self.scan
        for first in range(0, self.batch, self.items):
            rows = slice(first, min(first + self.items, self.batch))
            part = _items(s, rows)
            views = [buffer[:, : part.u.shape[0]] for buffer in self.buffers]
            yield rows, part, [Buffer(view, view.unbind(0)) for view in views]

    def spans(self) -> range:
        """Where spans start."""
        return range(0, self.length, SPAN)

    def chunks(self, steps: int) -> list[slice]:
        """A span's chunks."""
        return [slice(i, min(i + self.steps, steps)) for i in range(0, steps, self.steps)]

    def grouped(self, state: Tensor | None, items: int) -> Tensor:
        """A state [B, D, N] as [B, G, N, E]; zeros for None."""
        if state is None:
            return self.A.new_zeros(items, *self.A.shape)
        return state.unflatten(1, (self.groups, -1)).transpose(2, 3)


def _items(s: ScanInput, rows: slice) -> ScanInput:
    """Some items of a batch, without a copy."""

    def some(x: Tensor | None) -> Tensor | None:
        return None if x is None else x[rows]

    return s._replace(
        u=s.u[rows],
        delta=s.delta[rows],
        B=s.B[rows],
        C=s.C[rows],
        z=some(s.z),
        init=some(s.init),
        lengths=some(s.lengths),
        resets=some(s.resets),
    )


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """On a CPU, one thread for everything within.

    A tile fits one core's cache: waking a second thread for each of the many small operations of a backward pass costs as much
    as it saves, and far more where another process holds that core.
    """
    before = torch.get_num_threads()
    if device.type != "cpu" or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def place(g: ScanGrads, rows: slice, steps: slice) -> ScanGrads:
    """Where the gradients of some items' steps go, without a copy."""
    z = g.z[rows, steps] if g.z.numel() else g.z
    return g._replace(u=g.u[rows, steps], delta=g.delta[rows, steps], B=g.B[rows, steps], C=g.C[rows, steps], z=z)


def _tiling(s: ScanInput, size: int) -> tuple[int, int]:
    """Items and steps whose states are computed at once."""
    batch, channels = s.u.shape[0], s.u.shape[2]
    one = max(1, channels * s.A.shape[1] * 4)
    if s.u.device.type != "cpu":
        return batch, max(4, min(SPAN, (CHUNK_BYTES << 6) // (batch * one)))
    items = max(1, min(batch, size * STEP_BYTES // one))
    return items, max(4, min(SPAN, CHUNK_BYTES // (items * one)))
