"""Batch norm apart for each place, shortcut and ELU in one C++ pass over memory: forward and backward on processors."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from sigssl.native import library
from sigssl.native.library import pointer

INTEGERS = ("places", "items", "length", "channels", "type", "elu", "shortcut_length", "threads")
ARRAYS = ("x", "shortcut", "upper", "out", "dx", "dshortcut", "weight", "bias", "mean", "variance", "dweight", "dbias")
LANES = 16  # channels come in multiples of this: the widest vector of place_norm.h


class PlaceNormArgs(ctypes.Structure):
    """`PlaceNormArgs` of place_norm.h, field by field."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in INTEGERS),
        *((name, ctypes.c_void_p) for name in ARRAYS),
        ("eps", ctypes.c_double),
        ("runtime", ctypes.c_void_p),
    )


def runs(x: Tensor) -> bool:
    """Whether the kernels take this input [N, C, 1, L]: on a processor, of a type they read, channels last, 16 by 16."""
    fits = x.device.type == "cpu" and x.dtype in library.TYPES and x.shape[1] % LANES == 0 and x.numel() > 0
    return fits and not library.missing()


def apply(
    x: Tensor, weight: Tensor, bias: Tensor, shortcut: Tensor | None, places: int, eps: float, elu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """norm(x) + shortcut, through ELU where asked; and mean and variance [places, C], which carry no gradient.

    Args:
        x: [places x items, C, 1, L], place first.
        weight: [C], of the norm.
        bias: [C].
        shortcut: added to the normalised; where it is longer than L, its right end is cut off.
        places: how many.
        eps: added to the variances.
        elu: whether ELU follows.
    """
    beside = None if shortcut is None else shortcut.to(x.dtype)
    made: tuple[Tensor, Tensor, Tensor] = _Fused.apply(x, weight, bias, beside, places, eps, elu)
    return made


def dense(x: Tensor) -> Tensor:
    """[N, C, 1, L] whose memory is [N, L, C]."""
    return x.contiguous(memory_format=torch.channels_last)


class _Fused(torch.autograd.Function):
    """`apply` and its gradients."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, shortcut: Tensor | None, places: int, eps: float, elu: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Output, mean and variance."""
        x = dense(x)
        shortcut = None if shortcut is None else dense(shortcut)
        out = torch.empty_like(x)
        mean, variance = torch.empty(2, places, x.shape[1]).unbind()
        args = _arguments(x, places, eps, elu)
        args.shortcut, args.shortcut_length = pointer(shortcut), 0 if shortcut is None else shortcut.shape[3]
        args.out, args.mean, args.variance = pointer(out), pointer(mean), pointer(variance)
        weight, bias = weight.float(), bias.float()
        args.weight, args.bias = pointer(weight), pointer(bias)
        library.load().call("place_norm_forward", args)
        ctx.save_for_backward(x, weight, mean, variance, *((out,) if elu else ()))
        ctx.settings = (places, eps, elu, 0 if shortcut is None else shortcut.shape[3])
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of input, scale, shift and shortcut."""
        x, weight, mean, variance, *out = ctx.saved_tensors
        places, eps, elu, longer = ctx.settings
        upper, dx = dense(gradients[0].to(x.dtype)), torch.empty_like(x)
        dshortcut = torch.empty(*x.shape[:3], longer, dtype=x.dtype, memory_format=torch.channels_last) if longer else None
        dweight, dbias = torch.empty(2, places, x.shape[1]).unbind()
        args = _arguments(x, places, eps, elu)
        args.upper, args.out, args.dx = pointer(upper), pointer(out[0]) if elu else None, pointer(dx)
        args.dshortcut, args.shortcut_length = pointer(dshortcut), longer
        args.weight, args.mean, args.variance = pointer(weight), pointer(mean), pointer(variance)
        args.dweight, args.dbias = pointer(dweight), pointer(dbias)
        library.load().call("place_norm_backward", args)
        return dx, dweight.sum(0), dbias.sum(0), dshortcut, None, None, None


def _arguments(x: Tensor, places: int, eps: float, elu: bool) -> PlaceNormArgs:
    items, channels, _, length = x.shape
    args = PlaceNormArgs(places, items // places, length, channels, library.TYPES[x.dtype], int(elu), 0, torch.get_num_threads())
    args.x, args.eps, args.runtime = pointer(x), eps, library.load().runtime
    return args
