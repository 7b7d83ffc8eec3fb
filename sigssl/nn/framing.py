"""Where the frames of an epoch lie, and the averages that stand for a window on a coarser grid."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sigssl.errors import UserError


def frame_starts(samples: int, window: int, hop: float, floor: bool = False) -> list[int]:
    """First sample of every frame that fits.

    Args:
        samples: of the epoch.
        window: of a frame, in samples.
        hop: from one frame to the next, in samples; need not be whole.
        floor: a step of `int(hop)` samples (NeuroNet's code: 0.375 s at 100 Hz is 37 samples, and the last frame of 30 s ends at
            sample 2964). Otherwise frame i begins at i x hop, rounded, so that frames keep to the clock and reach the end.

    Raises:
        UserError: a window longer than the epoch, or a hop of less than a sample.
    """
    if window > samples:
        raise UserError(f"a frame of {window} samples is longer than the epoch of {samples}; shorten frame_seconds.")
    if hop < 1:
        raise UserError(f"a hop of {hop} samples is less than one; lengthen hop_seconds.")
    step = float(int(hop)) if floor else hop
    count = int((samples - window) / step + 1e-9) + 1
    return [int(i * step + 0.5) for i in range(count)]


def window_means(starts: list[float], width: float, bins: int, positions: int, stride: int) -> Float[Tensor, "means positions"]:
    """Weights that average a feature map over equal bins of windows, whatever the rate: an adaptive pooling as a matrix.

    Position j of the map stands for the samples from `stride` (j - 1/2) to `stride` (j + 1/2), as it does behind convolutions
    of odd kernels and same padding. A bin's weights are how much of it each position covers; they sum to 1.

    Args:
        starts: first sample of each window.
        width: of the windows, in samples.
        bins: per window.
        positions: of the map.
        stride: samples from one position to the next.

    Returns:
        float32 [windows x bins, positions].
    """
    edge = torch.arange(positions + 1, dtype=torch.float64) * stride - stride / 2
    edge[0], edge[-1] = -1e9, 1e9  # the outer positions stand for what lies beyond them too
    begin = (torch.tensor(starts, dtype=torch.float64)[:, None] + torch.arange(bins) * (width / bins)).flatten()[:, None]
    end = begin + width / bins
    covered = (torch.minimum(end, edge[1:]) - torch.maximum(begin, edge[:-1])).clamp(min=0.0)
    return (covered / covered.sum(1, keepdim=True)).float()


def sliding_means(kernel: int, positions: int) -> Float[Tensor, "means positions"]:
    """Means over `kernel` neighbouring positions, at every place where they fit (average pooling of stride 1)."""
    count = positions - kernel + 1
    place = torch.arange(positions)[None, :] - torch.arange(count)[:, None]
    return ((place >= 0) & (place < kernel)).float() / kernel
