"""The Triton engine: launches the kernels of triton_kernels.py. CUDA builds of torch bring Triton, so users compile nothing."""

from __future__ import annotations

import math
import os
from typing import Any

import torch
from torch import Tensor

from sigssl.errors import MissingExtraError
from sigssl.nn.scan.problem import ScanGrads, ScanInput, like, saved_states
from sigssl.optional import require

STEPS = 64  # of a tile


def missing() -> str:
    """Why the engine cannot run, or nothing; TRITON_INTERPRET=1 lets it run on CPU, for tests."""
    try:
        require("triton", "for the scan on GPUs without mamba-ssm")
    except MissingExtraError as error:
        return str(error)
    if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
        return "no CUDA device"
    return ""


def chunk_steps(batch: int, channels: int, states: int) -> int:
    """Steps between saved states."""
    return STEPS


def block_width(batch: int, channels: int, device: torch.device) -> int:
    """Channels of a program: as many as leave every multiprocessor some four programs."""
    wanted = 4 * torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
    return next((width for width in (32, 16, 8) if batch * channels // width >= wanted), 4)


def forward(s: ScanInput) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs [B, L, D], last state [B, D, N], and the states before each tile [B, tiles, N, D]."""
    from sigssl.nn.scan import triton_kernels as kernels

    batch, _, channels = s.u.shape
    saved, out = saved_states(s, STEPS), like(s.u)
    shape = (batch, s.A.shape[1], channels)
    state = s.A.new_zeros(shape) if s.init is None else s.init.transpose(1, 2).clone(memory_format=torch.contiguous_format)
    if out.numel():
        width = block_width(batch, channels, s.u.device)
        arguments = (*_inputs(s), *_view(out), *_maps(s), *_parameters(s), state, saved, *_sizes(s))
        with torch.cuda.device_of(s.u):
            kernels.forward_kernel[_grid(s, width)](*arguments, **_flags(s), GRAD=s.grad, WIDTH=width, STEPS=STEPS)
    return out, state.transpose(1, 2).contiguous(), saved


def backward(s: ScanInput, saved: Tensor, dout: Tensor, dlast: Tensor) -> ScanGrads:
    """Gradients of every input."""
    from sigssl.nn.scan import triton_kernels as kernels

    batch, steps, channels = s.u.shape
    groups, states = s.B.shape[2:]
    width = block_width(batch, channels, s.u.device)
    du, ddelta, dz = like(s.u), like(s.delta), None if s.z is None else like(s.z)
    adjoint = dlast.transpose(1, 2).clone(memory_format=torch.contiguous_format)
    dA, sums = s.A.new_zeros(batch, states, channels), s.A.new_zeros(2, batch, channels)
    maps = s.A.new_zeros(2, _grid(s, width)[0], batch, steps, groups, states)
    if s.u.numel():
        results = (*_view(du), *_view(ddelta), *_view(dz, du), dA, *maps, *sums, adjoint)
        arguments = (*_inputs(s), *_view(dout), *_maps(s), *_parameters(s), saved, *results, *_sizes(s))
        with torch.cuda.device_of(s.u):
            kernels.backward_kernel[_grid(s, width)](*arguments, **_flags(s), WIDTH=width, STEPS=STEPS)
    return ScanGrads(
        u=du,
        delta=ddelta,
        A=dA.sum(0).t().contiguous(),
        B=maps[0].sum(0).to(s.B.dtype),
        C=maps[1].sum(0).to(s.C.dtype),
        D=torch.empty(0) if s.D is None else sums[0].sum(0),
        z=torch.empty(0) if dz is None else dz,
        bias=torch.empty(0) if s.bias is None else sums[1].sum(0),
        init=torch.empty(0) if s.init is None else adjoint.transpose(1, 2).contiguous(),
    )


def _grid(s: ScanInput, width: int) -> tuple[int, int, int]:
    batch, _, channels = s.u.shape
    groups = s.B.shape[2]
    return -(-(channels // groups) // width), groups, batch


def _view(x: Tensor | None, stand_in: Tensor | None = None) -> tuple[Any, ...]:
    """A tensor and its strides; a stand-in that is never read where it is absent."""
    x = stand_in if x is None else x
    assert x is not None
    return (x, *x.stride())


def _inputs(s: ScanInput) -> tuple[Any, ...]:
    return *_view(s.u), *_view(s.delta), *_view(s.z, s.u)


def _maps(s: ScanInput) -> tuple[Any, ...]:
    return *_view(s.B), *_view(s.C)


def _parameters(s: ScanInput) -> tuple[Tensor, ...]:
    rates = (s.A * math.log2(math.e)).contiguous()
    dense = (rates if x is None else x.contiguous() for x in (s.D, s.bias, s.lengths))
    return rates, *dense, rates if s.resets is None else s.resets.contiguous().view(torch.uint8)


def _sizes(s: ScanInput) -> tuple[int, int, int, int]:
    _, steps, channels = s.u.shape
    return steps, channels, s.B.shape[2], -(-steps // STEPS)


def _flags(s: ScanInput) -> dict[str, Any]:
    present = {"SKIP": s.D, "GATE": s.z, "BIAS": s.bias, "LENGTHS": s.lengths, "RESETS": s.resets}
    return {"N": s.A.shape[1], "SOFTPLUS": s.softplus, **{name: x is not None for name, x in present.items()}}
