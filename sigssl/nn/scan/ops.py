"""The scan as two registered torch operators, so that autograd, torch.compile, checkpointing and DDP treat it as one node."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from sigssl.errors import UserError
from sigssl.nn.scan import chunked, cpp
from sigssl.nn.scan.problem import ScanGrads, ScanInput, like, rows_like, saved_states, state_dtype

INPUTS = (
    "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, Tensor? bias, Tensor? init, "
    "Tensor? lengths, Tensor? resets, bool softplus, bool grad, str engine"
)
TENSORS = 11  # of INPUTS, of which the first 9 may have gradients


def engine_module(engine: str) -> ModuleType:
    """The module that implements `engine`: it offers forward, backward and chunk_steps."""
    if engine == "triton":
        from sigssl.nn.scan import triton_engine

        return triton_engine
    return {"cpp": cpp, "torch": chunked}[engine]


@torch.library.custom_op(
    "sigssl::selective_scan", mutates_args=(), schema=f"({INPUTS}) -> (Tensor out, Tensor last_state, Tensor saved)"
)
def scan_forward(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs [B, L, D], last state [B, D, N] and what the backward pass needs."""
    *inputs, engine = args
    return engine_module(engine).forward(ScanInput(*inputs))


@scan_forward.register_fake
def _(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    *inputs, engine = args
    s = ScanInput(*inputs)
    batch, _, channels = s.u.shape
    chunk = engine_module(engine).chunk_steps(batch, channels, s.A.shape[1])
    last = s.u.new_empty((batch, *s.A.shape), dtype=state_dtype(s.u))
    return torch.empty_like(s.u), last, saved_states(s, chunk)


@torch.library.custom_op(
    "sigssl::selective_scan_backward",
    mutates_args=(),
    schema=f"({INPUTS}, Tensor saved, Tensor dout, Tensor dlast) -> (" + ", ".join(["Tensor"] * 9) + ")",
)
def scan_backward(*args: Any) -> ScanGrads:
    """Gradients of the nine differentiable inputs, empty where an input was absent."""
    *inputs, engine, saved, dout, dlast = args
    return engine_module(engine).backward(ScanInput(*inputs), saved, dout, dlast)


@scan_backward.register_fake
def _(*args: Any) -> ScanGrads:
    s = ScanInput(*args[:13])
    A = torch.empty_like(s.A, memory_format=torch.contiguous_format)
    return ScanGrads(like(s.u), like(s.delta), A, rows_like(s.B), rows_like(s.C), *(like(x) for x in (s.D, s.z, s.bias, s.init)))


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:TENSORS], output[2])
    ctx.options = inputs[TENSORS:]
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, dout: Tensor | None, dlast: Tensor | None, dsaved: Tensor | None) -> tuple[Any, ...]:
    *inputs, saved = ctx.saved_tensors
    u, A = inputs[0], inputs[2]
    if dout is None:
        dout = torch.zeros_like(u)
    if dlast is None:
        dlast = A.new_zeros(u.shape[0], *A.shape)
    grads = scan_backward(*inputs, *ctx.options, saved, dout, dlast)
    wanted = ctx.needs_input_grad
    return (*(g if wanted[i] and inputs[i] is not None else None for i, g in enumerate(grads)), *[None] * 5)


def no_second_derivative(ctx: Any, *grads: Tensor) -> None:
    """The backward of a backward operator: refuses."""
    raise UserError(
        "selective_scan has no second derivative: a gradient of its gradient was asked for (create_graph=True, a gradient penalty, "
        "a Hessian). Use backend='reference', which is slow but differentiable to any order."
    )


scan_forward.register_autograd(_differentiate, setup_context=_remember)
scan_backward.register_autograd(no_second_derivative)
