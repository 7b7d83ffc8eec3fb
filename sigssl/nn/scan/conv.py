"""Causal depthwise convolution and SiLU in one: the C++ kernel on CPU, torch's own operators elsewhere."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from sigssl.native import library
from sigssl.native.library import View, pointer
from sigssl.nn.scan.dispatch import choose_engine
from sigssl.nn.scan.ops import no_second_derivative

RANGE = 128  # steps that one thread takes at a time, as in conv.h
MOST_TAPS = 64  # as in conv.h
INPUTS = "Tensor x, Tensor weight, Tensor? bias, Tensor? before, Tensor? start"


class ConvArgs(ctypes.Structure):
    """`ConvArgs` of conv.h, field by field."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("batch", "steps", "channels", "taps", "threads")),
        *((name, View) for name in ("x", "out", "dout", "dx")),
        *((name, ctypes.c_void_p) for name in ("weight", "bias", "before", "start", "dparams", "dbefore", "runtime")),
    )


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
        x: inputs; any strides, channels next to each other are the fastest.
        weight: taps, the last one for the current frame.
        bias: added before SiLU.
        before: the `width - 1` inputs before the first frame, zeros if absent.
        resets: true on frames that begin a sequence: they and those after them do not see across.
        backend: as for :func:`sigssl.nn.selective_scan`.

    Returns:
        Outputs of the same shape and dtype.
    """
    start = None
    if resets is not None:
        frames = torch.arange(x.shape[1], device=x.device)
        start = torch.where(resets, frames, -weight.shape[1]).cummax(1).values  # where each frame's sequence begins
    engine = choose_engine(x.device.type, x.dtype == torch.float64, True, backend)
    if engine != "cpp" or x.dtype not in library.TYPES or weight.shape[1] > MOST_TAPS or x.numel() == 0:
        return _plain(x, weight, bias, before, start)
    past = None if before is None else before.transpose(1, 2).float()
    return _forward(x, weight.float(), None if bias is None else bias.float(), past, start)


def _plain(x: Tensor, weight: Tensor, bias: Tensor | None, before: Tensor | None, start: Tensor | None) -> Tensor:
    width = weight.shape[1]
    past = x.new_zeros(x.shape[0], width - 1, x.shape[2]) if before is None else before.transpose(1, 2).to(x.dtype)
    padded = torch.cat([past, x], 1)
    if start is None:
        taps = weight.to(x.dtype)[:, None]
        y = F.conv1d(padded.transpose(1, 2), taps, None if bias is None else bias.to(x.dtype), groups=x.shape[2])
        return F.silu(y.transpose(1, 2))
    frames = torch.arange(x.shape[1], device=x.device)
    total = torch.zeros_like(x) if bias is None else bias.to(x.dtype).expand_as(x)
    for k in range(width):
        seen = (frames - (width - 1 - k) >= start)[..., None]
        total = total + torch.where(seen, padded[:, k : k + x.shape[1]] * weight[:, k].to(x.dtype), 0)
    return F.silu(total)


@torch.library.custom_op("sigssl::conv_silu", mutates_args=(), schema=f"({INPUTS}) -> Tensor")
def _forward(*inputs: Any) -> Tensor:
    x, args, alive = _arguments(*inputs)
    out = x.new_empty(x.shape)
    args.out = View.of(out)
    library.load().call("conv_forward", args)
    del alive
    return out


@_forward.register_fake
def _(x: Tensor, *others: Any) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op(
    "sigssl::conv_silu_backward", mutates_args=(), schema=f"({INPUTS}, Tensor dout) -> (Tensor, Tensor, Tensor, Tensor)"
)
def _backward(*inputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, args, alive = _arguments(*inputs[:-1])
    dout = inputs[-1] if inputs[-1].stride(-1) == 1 else inputs[-1].contiguous()
    weight = inputs[1]
    dx = x.new_empty(x.shape)
    params = weight.new_empty(x.shape[0] * -(-x.shape[1] // RANGE), args.taps + 1, x.shape[2])
    dbefore = weight.new_empty(x.shape[0], args.taps - 1, x.shape[2])
    args.dout, args.dx, args.dparams, args.dbefore = View.of(dout), View.of(dx), params.data_ptr(), dbefore.data_ptr()
    library.load().call("conv_backward", args)
    del alive
    sums = params.sum(0)
    return dx, sums[:-1].t().contiguous(), sums[-1].clone(), dbefore


@_backward.register_fake
def _(x: Tensor, weight: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    before = weight.new_empty(x.shape[0], weight.shape[1] - 1, x.shape[2])
    return x.new_empty(x.shape), weight.new_empty(weight.shape), weight.new_empty(weight.shape[0]), before


def _arguments(
    x: Tensor, weight: Tensor, bias: Tensor | None, before: Tensor | None, start: Tensor | None
) -> tuple[Tensor, ConvArgs, tuple[Tensor | None, ...]]:
    """The input as the kernel takes it, its arguments, and what must stay alive while they are used."""
    if x.stride(-1) != 1:
        x = x.contiguous()
    dense = (weight.t().contiguous(), *(None if v is None else v.contiguous() for v in (bias, before, start)))
    args = ConvArgs(*x.shape, weight.shape[1], torch.get_num_threads())
    args.x = View.of(x)
    args.weight, args.bias, args.before, args.start = (pointer(v) for v in dense)
    args.runtime = library.load().runtime
    return x, args, dense


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
    inputs = ctx.saved_tensors
    grads = _backward(*inputs, dout)
    return (*(None if x is None else g for x, g in zip(inputs, grads, strict=False)), None)


_forward.register_autograd(_differentiate, setup_context=_remember)
_backward.register_autograd(no_second_derivative)
