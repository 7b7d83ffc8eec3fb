"""The C++ engine: the scan's forward and backward passes on CPU, float32 or bfloat16 inputs of any strides."""

from __future__ import annotations

import ctypes
import math

import torch
from torch import Tensor

from sigssl.native import library
from sigssl.native.library import View, pointer
from sigssl.nn.scan.problem import ScanGrads, ScanInput, like, saved_states

STEPS = 64  # of a chunk, as in simd.h
LANES = 32  # channels of a block at the most, as in simd.h
INTEGERS = ("batch", "steps", "channels", "groups", "states", "chunks", "slices", "softplus", "threads")
VIEWS = ("u", "delta", "z", "out", "dout", "du", "ddelta", "dz")
STRIDES = ("B_batch", "B_time", "B_group", "C_batch", "C_time", "C_group")
ARRAYS = ("A", "skip", "bias", "init", "lengths", "resets", "last", "saved", "dlast", "dA", "dskip", "dbias", "dinit", "dB", "dC")


class ScanArgs(ctypes.Structure):
    """`ScanArgs` of scan.h, field by field."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in INTEGERS),
        *((name, View) for name in VIEWS),
        ("B", ctypes.c_void_p),
        ("C", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in STRIDES),
        *((name, ctypes.c_void_p) for name in ARRAYS),
        ("runtime", ctypes.c_void_p),
    )


def chunk_steps(batch: int, channels: int, states: int) -> int:
    """Steps between saved states."""
    return STEPS


def forward(s: ScanInput) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs [B, L, D], last state [B, D, N], and the states before each chunk [B, chunks, N, D]."""
    saved = saved_states(s, STEPS)
    if s.u.numel() == 0:
        last = s.A.new_zeros(s.u.shape[0], *s.A.shape) if s.init is None else s.init.clone()
        return like(s.u), last, saved
    x = _supported(s)
    out = like(x.u)
    last = s.A.new_empty(s.u.shape[0], s.A.shape[1], s.A.shape[0])
    args, alive = _arguments(x)
    args.out, args.last = View.of(out), last.data_ptr()
    args.saved = saved.data_ptr() if s.grad else None
    library.load().call("scan_forward", args)
    del alive
    return out.to(s.u.dtype), last.transpose(1, 2).contiguous(), saved


def backward(s: ScanInput, saved: Tensor, dout: Tensor, dlast: Tensor) -> ScanGrads:
    """Gradients of every input."""
    if s.u.numel() == 0:
        zeros = [torch.empty(0) if x is None else x.new_zeros(x.shape) for x in s[:9]]
        return ScanGrads(*zeros)._replace(init=torch.empty(0) if s.init is None else dlast.clone())
    x = _supported(s)
    batch, steps, channels = s.u.shape
    groups, states = s.B.shape[2:]
    args, alive = _arguments(x)
    blocks = -(-channels // groups // LANES)
    args.slices = max(1, min(blocks // 2, -(-3 * args.threads // (batch * groups)))) if args.threads > 1 else 1
    maps = [s.A.new_empty(args.slices, batch, steps, groups, states) for _ in range(2)]
    sums = s.A.new_empty(2, batch, channels)
    dA = s.A.new_empty(batch, states, channels)
    dinit = None if s.init is None else torch.empty_like(dA)
    du, ddelta, dz = like(x.u), like(x.delta), None if x.z is None else like(x.z)
    dout, dlast = _float(dout), dlast.transpose(1, 2).contiguous()
    args.dout, args.du, args.ddelta, args.dz = (View.of(v) for v in (dout, du, ddelta, dz))
    args.saved, args.dlast = saved.data_ptr(), dlast.data_ptr()
    args.dB, args.dC, args.dskip, args.dbias = (v.data_ptr() for v in (*maps, *sums))
    args.dA, args.dinit = pointer(dA), pointer(dinit)
    library.load().call("scan_backward", args)
    del alive
    dB, dC = (m[0] if args.slices == 1 else m.sum(0) for m in maps)
    return ScanGrads(
        u=du.to(s.u.dtype),
        delta=ddelta.to(s.delta.dtype),
        A=dA.sum(0).t().contiguous(),
        B=dB.to(s.B.dtype),
        C=dC.to(s.C.dtype),
        D=torch.empty(0) if s.D is None else sums[0].sum(0),
        z=torch.empty(0) if s.z is None or dz is None else dz.to(s.z.dtype),
        bias=torch.empty(0) if s.bias is None else sums[1].sum(0),
        init=torch.empty(0) if dinit is None else dinit.transpose(1, 2).contiguous(),
    )


def _float(x: Tensor) -> Tensor:
    """A type that the kernels read: float16 becomes float32."""
    return x if x.dtype in library.TYPES else x.float()


def _supported(s: ScanInput) -> ScanInput:
    """Inputs as the kernels take them: A transposed and in units of log2(e), B and C as float32 with states dense."""

    def rows(x: Tensor) -> Tensor:
        x = x.float()
        return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()

    def dense(x: Tensor | None) -> Tensor | None:
        return None if x is None else x.contiguous()

    return s._replace(
        u=_float(s.u),
        delta=_float(s.delta),
        A=(s.A.t() * math.log2(math.e)).contiguous(),
        B=rows(s.B),
        C=rows(s.C),
        D=dense(s.D),
        z=None if s.z is None else _float(s.z),
        bias=dense(s.bias),
        init=None if s.init is None else s.init.transpose(1, 2).contiguous(),
        lengths=dense(s.lengths),
        resets=dense(s.resets),
    )


def _arguments(s: ScanInput) -> tuple[ScanArgs, ScanInput]:
    """The inputs' part of the kernels' arguments, and what must stay alive while they are used."""
    batch, steps, channels = s.u.shape
    groups, states = s.B.shape[2:]
    args = ScanArgs(batch, steps, channels, groups, states, -(-steps // STEPS), 1, s.softplus, torch.get_num_threads())
    args.u, args.delta, args.z = View.of(s.u), View.of(s.delta), View.of(s.z)
    args.B, args.B_batch, args.B_time, args.B_group = s.B.data_ptr(), *s.B.stride()[:3]
    args.C, args.C_batch, args.C_time, args.C_group = s.C.data_ptr(), *s.C.stride()[:3]
    args.A, args.skip, args.bias, args.init = (pointer(x) for x in (s.A, s.D, s.bias, s.init))
    args.lengths, args.resets = pointer(s.lengths), pointer(s.resets)
    args.runtime = library.load().runtime
    return args, s
