"""What every engine of the selective scan is given and gives back: one canonical, time-major form."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class ScanInput(NamedTuple):
    """Inputs of a scan, time before channels: batch B, steps L, channels D in G groups, states N per channel.

    Any strides are allowed. u, delta, z, B and C may be float32, bfloat16 or float16 (float64 where an engine says so);
    A, D, bias and init are of the state's dtype, see :func:`state_dtype`.
    """

    u: Tensor  # [B, L, D]
    delta: Tensor  # [B, L, D]
    A: Tensor  # [D, N]
    B: Tensor  # [B, L, G, N]
    C: Tensor  # [B, L, G, N]
    D: Tensor | None  # [D]
    z: Tensor | None  # [B, L, D]
    bias: Tensor | None  # [D], added to delta
    init: Tensor | None  # [B, D, N], the state before the first step
    lengths: Tensor | None  # int64 [B], valid steps
    resets: Tensor | None  # bool [B, L], true where a step starts from a zero state
    softplus: bool  # whether delta passes through softplus
    grad: bool  # whether a backward pass may follow, for which states are kept


class ScanGrads(NamedTuple):
    """Gradients in the order of :class:`ScanInput`; an empty tensor where the input was absent."""

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor
    z: Tensor
    bias: Tensor
    init: Tensor


def state_dtype(u: Tensor) -> torch.dtype:
    """The precision of the state: float64 for float64 inputs, else float32."""
    return torch.float64 if u.dtype == torch.float64 else torch.float32


def saved_states(s: ScanInput, chunk: int) -> Tensor:
    """Room [B, chunks, N, D] for the states kept for the backward pass: the one before each chunk of `chunk` steps."""
    batch, steps, channels = s.u.shape
    chunks = -(-steps // chunk) if s.grad else 0
    return s.u.new_empty((batch, chunks, s.A.shape[1], channels), dtype=state_dtype(s.u))


def like(x: Tensor | None) -> Tensor:
    """An uninitialised tensor with the shape of `x` and, where they are dense, its strides; empty where `x` is absent."""
    return torch.empty(0) if x is None else torch.empty_like(x)


def rows_like(x: Tensor) -> Tensor:
    """An uninitialised contiguous tensor for the gradient of B or C."""
    return x.new_empty(x.shape)
