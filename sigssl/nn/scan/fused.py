"""mamba_ssm's CUDA kernel behind our arguments, where that package is installed with it."""

from __future__ import annotations

import torch
from torch import Tensor

from sigssl.optional import require
from sigssl.types import frame_mask


def missing() -> str:
    """Why mamba_ssm's kernel cannot be used, or nothing. A default build since 2026-07 leaves the Mamba-1 kernel out."""
    if not torch.cuda.is_available():
        return "no CUDA device"
    try:
        interface = require("mamba_ssm.ops.selective_scan_interface", "for its CUDA scan")
    except ImportError as error:
        return str(error)
    if getattr(interface, "selective_scan_cuda", None) is None:
        return "mamba_ssm was built without selective_scan_cuda (MAMBA_KEEP_CUDA_BUILD=TRUE keeps it)"
    return ""


def scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    bias: Tensor | None,
    softplus: bool,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """mamba_ssm's `selective_scan_fn`, channels before time; returns y and the last state.

    The kernel knows no lengths: steps behind them get zero inputs and a step size of zero, which keep the state as it is.
    """
    interface = require("mamba_ssm.ops.selective_scan_interface", "for its CUDA scan")
    past = None if lengths is None else ~frame_mask(lengths.to(u.device), u.shape[-1])[:, None]
    if past is not None:
        u, z = u.masked_fill(past, 0), None if z is None else z.masked_fill(past, 0)
        B, C = (x.masked_fill(past if x.ndim == 3 else past[:, None], 0) for x in (B, C))
        delta = delta.masked_fill(past, -1e4 if softplus else 0)
        if not softplus and bias is not None:
            delta, bias = (delta + bias[:, None].to(delta.dtype)).masked_fill(past, 0), None
    dtype = torch.float32
    extras = [None if x is None else x.to(dtype).contiguous() for x in (D, bias)]
    y, last = interface.selective_scan_fn(u, delta, A.to(dtype), B, C, extras[0], z, extras[1], softplus, True)
    return (y if past is None else y.masked_fill(past, 0)), last
