"""The pure torch engine: chunks of time, sequential inside a chunk, with the backward pass by hand; runs on any device.

Nothing of size [B, L, D, N] is ever stored. A span of time of a few items is loaded at once; inside it, decays and states of one
chunk after the other live in buffers that fit a core's cache, and only the state before each span is kept for the backward
pass. Layout inside: [T, B, G, N, E], with E = D / G channels of each group last.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sigssl.nn.scan.problem import ScanGrads, ScanInput, like, rows_like, saved_states, state_dtype
from sigssl.nn.scan.tiles import SPAN, Buffer, Work, one_thread, place

WIDER = 2  # times as many items at once forward, in spans as much shorter: fewer calls in the same memory
LOG2_E = math.log2(math.e)  # 2 to the power of x: several times faster than e to the x where MKL serves the latter on AMD


def chunk_steps(batch: int, channels: int, states: int) -> int:
    """Steps between the states that forward keeps."""
    return SPAN


class _Span(NamedTuple):
    """Inputs of a span in the state's dtype: channels as [T, B, G, 1, E], B and C as [T, B, G, N, 1]."""

    u: Tensor
    delta: Tensor
    B: Tensor
    C: Tensor
    z: Tensor | None
    valid: Tensor | None  # bool [T, B, 1, 1, 1]
    resets: Tensor | None  # bool [T, B, 1, 1, 1]

    def cut(self, steps: slice) -> _Span:
        """A part of it, without a copy."""
        return _Span(*(None if x is None else x[steps] for x in self))  # type: ignore[arg-type]


def _load(s: ScanInput, start: int, stop: int) -> _Span:
    dtype = state_dtype(s.u)
    groups = s.B.shape[2]
    valid = None
    if s.lengths is not None:
        valid = (torch.arange(start, stop, device=s.u.device)[:, None] < s.lengths)[..., None, None, None]

    def lanes(x: Tensor) -> Tensor:
        x = x[:, start:stop].transpose(0, 1).to(dtype).contiguous().unflatten(-1, (groups, -1)).unsqueeze(3)
        return x if valid is None else x.masked_fill(~valid, 0)

    def rows(x: Tensor) -> Tensor:
        x = x[:, start:stop].transpose(0, 1).to(dtype).contiguous().unsqueeze(-1)
        return x if valid is None else x.masked_fill(~valid, 0)

    delta = lanes(s.delta)
    if s.bias is not None:
        delta = delta + s.bias.view(groups, 1, -1)
    if s.softplus:
        delta = F.softplus(delta)
    if valid is not None:
        delta = delta.masked_fill(~valid, 0)  # a step behind the end keeps the state: exp(0) h + 0
    resets = None if s.resets is None else s.resets[:, start:stop].t()[..., None, None, None]
    if resets is not None and valid is not None:
        resets = resets & valid
    return _Span(lanes(s.u), delta, rows(s.B), rows(s.C), None if s.z is None else lanes(s.z), valid, resets)


def _states(c: _Span, A: Tensor, h0: Tensor, decay: Buffer, hidden: Buffer) -> tuple[Tensor, Tensor]:
    """Fill decay [T, B, G, N, E] and hidden [T + 1, ...] (the state before each step, then the last)."""
    steps = c.u.shape[0]
    a, h = decay.whole[:steps], hidden.whole[: steps + 1]
    torch.mul(c.delta, A * LOG2_E, out=a)
    a.exp2_()
    if c.resets is not None:
        a.masked_fill_(c.resets, 0)
    h[0] = h0
    torch.mul(c.delta * c.u, c.B, out=h[1:])
    for t in range(steps):
        hidden.steps[t + 1].addcmul_(decay.steps[t], hidden.steps[t])
    return a, h


def _flat(x: Tensor) -> Tensor:
    """Channels [T, B, G, 1, E] back to [B, T, D]."""
    return x.flatten(2).transpose(0, 1)


def forward(s: ScanInput) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs [B, L, D], last state [B, D, N], and the states before each span [B, spans, N, D]."""
    work = Work(s, 2, WIDER)
    out, saved = like(s.u), saved_states(s, SPAN)
    last = work.A.new_empty(work.batch, work.channels, work.states)
    for rows, part, (decay, hidden) in work.parts():
        h = work.grouped(part.init, part.u.shape[0])
        for start in work.spans():
            if s.grad:
                saved[rows, start // SPAN] = h.transpose(1, 2).flatten(2)
            for begin in range(start, min(start + SPAN, work.length), SPAN // WIDER):
                span = _load(part, begin, min(begin + SPAN // WIDER, work.length))
                for steps in work.chunks(span.u.shape[0]):
                    c = span.cut(steps)
                    _, hs = _states(c, work.A, h, decay, hidden)
                    y = _output(s, c, hs)
                    if c.z is not None:
                        y = y * F.silu(c.z)
                    y = y if c.valid is None else y.masked_fill(~c.valid, 0)
                    out[rows, begin + steps.start : begin + steps.stop] = _flat(y)
                    h = hs[-1].clone()
        last[rows] = h.transpose(2, 3).flatten(1, 2)
    return out, last, saved


def _output(s: ScanInput, c: _Span, hidden: Tensor) -> Tensor:
    """Outputs [T, B, G, 1, E] before the gate."""
    y = torch.matmul(c.C.transpose(-1, -2), hidden[1:])
    return y if s.D is None else torch.addcmul(y, c.u, s.D.view(s.B.shape[2], 1, -1))


def backward(s: ScanInput, saved: Tensor, dout: Tensor, dlast: Tensor) -> ScanGrads:
    """Gradients of every input, the chunks taken from last to first and recomputed from the states before their spans."""
    with one_thread(s.u.device):
        return _backward(s, saved, dout, dlast)


def _backward(s: ScanInput, saved: Tensor, dout: Tensor, dlast: Tensor) -> ScanGrads:
    work = Work(s, 3)
    g = ScanGrads(
        like(s.u), like(s.delta), torch.zeros_like(work.A), rows_like(s.B), rows_like(s.C), like(None), like(s.z), like(None),
        like(None) if s.init is None else torch.empty_like(s.init, memory_format=torch.contiguous_format),
    )  # fmt: skip
    lanes = work.A.new_zeros(2, work.groups, 1, work.A.shape[-1])  # dD, dbias
    for rows, part, buffers in work.parts():
        carry = work.grouped(dlast[rows], part.u.shape[0]).contiguous()
        for start in reversed(work.spans()):
            span = _load(part, start, min(start + SPAN, work.length))
            h = saved[rows, start // SPAN].unflatten(-1, (work.groups, -1)).transpose(1, 2)
            chunks = work.chunks(span.u.shape[0])
            befores = [h]
            for steps in chunks[:-1]:
                befores.append(_states(span.cut(steps), work.A, befores[-1], *buffers[:2])[1][-1].clone())
            for steps, before in zip(reversed(chunks), reversed(befores), strict=True):
                here = slice(start + steps.start, start + steps.stop)
                target = place(g, rows, here)
                carry = _chunk_backward(part, span.cut(steps), work.A, before, dout[rows, here], carry, target, lanes, buffers)
        if s.init is not None:
            g.init[rows] = carry.transpose(2, 3).flatten(1, 2)
    return g._replace(
        A=g.A.transpose(1, 2).reshape(s.A.shape),
        D=torch.empty(0) if s.D is None else lanes[0].flatten().clone(),
        bias=torch.empty(0) if s.bias is None else lanes[1].flatten().clone(),
    )


def _chunk_backward(
    s: ScanInput,
    c: _Span,
    A: Tensor,
    before: Tensor,
    dout: Tensor,
    carry: Tensor,
    g: ScanGrads,
    lanes: Tensor,
    buffers: list[Buffer],
) -> Tensor:
    """Write or add one chunk's gradients into `g` and `lanes`; the gradient of the state before the chunk."""
    decay, hidden, adjoint = buffers
    a, h = _states(c, A, before, decay, hidden)
    dy = dout.transpose(0, 1).to(A.dtype).contiguous().unflatten(-1, (A.shape[0], -1)).unsqueeze(3)
    if c.valid is not None:
        dy = dy.masked_fill(~c.valid, 0)
    if c.z is not None:
        gate = torch.sigmoid(c.z)
        g.z.copy_(_flat(dy * _output(s, c, h) * gate * (1 + c.z * (1 - gate))))
        dy = dy * c.z * gate
    G = torch.mul(dy, c.C, out=adjoint.whole[: c.u.shape[0]])
    G[-1] += carry
    for t in reversed(range(len(G) - 1)):
        adjoint.steps[t].addcmul_(decay.steps[t + 1], adjoint.steps[t + 1])
    g.C.copy_(torch.matmul(h[1:], dy.transpose(-1, -2)).squeeze(-1).transpose(0, 1))
    g.B.copy_(torch.matmul(G, (c.delta * c.u).transpose(-1, -2)).squeeze(-1).transpose(0, 1))
    s1 = torch.matmul(c.B.transpose(-1, -2), G)
    w = G.mul_(a)
    carry = w[0].clone()
    w.mul_(h[:-1])
    ddelta = torch.mul(w, A, out=a).sum(3, keepdim=True).addcmul_(s1, c.u)
    g.A.add_(w.mul_(c.delta).sum((0, 1)))
    du = s1 * c.delta
    if s.D is not None:
        du.addcmul_(dy, s.D.view(A.shape[0], 1, -1))
        lanes[0] += (dy * c.u).sum((0, 1))
    if s.softplus:
        ddelta = ddelta * -torch.expm1(-c.delta)  # the slope of softplus, from its value
    if c.valid is not None:
        du, ddelta = du.masked_fill_(~c.valid, 0), ddelta.masked_fill(~c.valid, 0)
    lanes[1] += ddelta.sum((0, 1))
    g.u.copy_(_flat(du))
    g.delta.copy_(_flat(ddelta))
    return carry
