"""Rows of all ranks, through which gradients flow back to the ranks that they came from."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> int:
    """Number of ranks; 1 where nothing is distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather(rows: Tensor) -> tuple[Tensor, int]:
    """Join the rows [n, ...] of all ranks, which may differ in number.

    The gradient of a row is the sum over all ranks of what each of their losses says of it, so that the gradient of the sum of
    the ranks' losses is that of one process on the joined batch.

    Args:
        rows: of this rank; every rank calls this with the same trailing shape.

    Returns:
        The rows of all ranks in order, and where this rank's begin.
    """
    if world() == 1:
        return rows, 0
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.empty_like(count) for _ in range(world())]
    dist.all_gather(counts, count)
    sizes = torch.cat(counts).tolist()
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded = torch.cat([rows, padded[len(rows) :]])
    joined = _Gather.apply(padded) if rows.is_floating_point() else _all(padded)
    parts = [part[:size] for part, size in zip(joined.unbind(0), sizes, strict=True)]
    return torch.cat(parts), sum(sizes[: dist.get_rank()])


class _Gather(torch.autograd.Function):
    """[n, ...] -> [ranks, n, ...]."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        """Rows of all ranks, stacked."""
        return _all(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """The sum of all ranks' gradients, the part of this rank."""
        summed = gradients[0].contiguous()
        dist.all_reduce(summed)
        return summed[dist.get_rank()]


def _all(rows: Tensor) -> Tensor:
    parts = [torch.empty_like(rows) for _ in range(world())]
    dist.all_gather(parts, rows.contiguous())
    return torch.stack(parts)
