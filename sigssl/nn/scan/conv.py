"""Causal depthwise convolution and SiLU in one: by hand on CPU, from torch's parts elsewhere."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


def conv_silu(
    x: Float[Tensor, "batch frames channels"],
    weight: Float[Tensor, "channels width"],
    bias: Float[Tensor, " channels"] | None = None,
    before: Float[Tensor, "batch channels past"] | None = None,
    resets: Bool[Tensor, "batch frames"] | None = None,
    backend: str = "auto",
) -> Float[Tensor, "batch frames channels"]:
    """SiLU(bias + sum_k weight_k x_{t - width + 1 + k}), each channel by itself.

    Args:
        x: inputs; any strides.
        weight: taps, the last one for the current frame.
        bias: added before SiLU.
        before: the `width - 1` inputs before the first frame, zeros if absent.
        resets: true on frames whose past must not be seen, nor must frames after them see across.
        backend: as for the scan.

    Returns:
        Outputs of the same shape and dtype.
    """
    return _plain(x, weight, bias, before, resets)


def _plain(x: Tensor, weight: Tensor, bias: Tensor | None, before: Tensor | None, resets: Tensor | None) -> Tensor:
    width = weight.shape[1]
    past = x.new_zeros(x.shape[0], width - 1, x.shape[2]) if before is None else before.transpose(1, 2).to(x.dtype)
    padded = torch.cat([past, x], 1)
    if resets is None:
        taps = weight.to(x.dtype)[:, None]
        y = F.conv1d(padded.transpose(1, 2), taps, None if bias is None else bias.to(x.dtype), groups=x.shape[2])
        return F.silu(y.transpose(1, 2))
    frames = torch.arange(x.shape[1], device=x.device)
    start = torch.where(resets, frames, -width).cummax(1).values  # the frame on which each frame's sequence begins
    total = torch.zeros_like(x) if bias is None else bias.to(x.dtype).expand_as(x)
    for k in range(width):
        seen = (frames - (width - 1 - k) >= start)[..., None]
        total = total + torch.where(seen, padded[:, k : k + x.shape[1]] * weight[:, k].to(x.dtype), 0)
    return F.silu(total)
