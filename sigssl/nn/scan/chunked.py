"""The pure torch engine: chunks of time, sequential inside a chunk, with the backward pass by hand; runs on any device.

Nothing of size [B, L, D, N] is ever stored: a chunk's decays and states live in buffers that fit a cache, and the forward pass
keeps only the state before each chunk. Layout inside a chunk: [T, B, G, N, E], with E = D / G channels of each group last.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sigssl.nn.scan.problem import ScanGrads, ScanInput, like, rows_like, saved_states, state_dtype

CACHE_BYTES = 1 << 20  # of one chunk buffer; larger falls out of a core's L2, smaller pays more calls


def chunk_steps(batch: int, channels: int, states: int) -> int:
    """Steps of a chunk such that one buffer of it stays in cache."""
    return max(4, min(64, CACHE_BYTES // max(1, batch * channels * states * 4)))


class _Chunk(NamedTuple):
    """One chunk's inputs in the state's dtype: channels as [T, B, G, 1, E], B and C as [T, B, G, N, 1]."""

    u: Tensor
    raw: Tensor  # delta + bias, before softplus
    delta: Tensor
    B: Tensor
    C: Tensor
    z: Tensor | None
    valid: Tensor | None  # bool [T, B, 1, 1, 1]
    resets: Tensor | None  # bool [T, B, 1, 1, 1]


def _load(s: ScanInput, start: int, stop: int) -> _Chunk:
    dtype = state_dtype(s.u)
    groups = s.B.shape[2]
    valid = None
    if s.lengths is not None:
        valid = (torch.arange(start, stop, device=s.u.device)[:, None] < s.lengths)[..., None, None, None]

    def lanes(x: Tensor) -> Tensor:
        x = x[:, start:stop].transpose(0, 1).to(dtype).unflatten(-1, (groups, -1)).unsqueeze(3)
        return x if valid is None else x.masked_fill(~valid, 0)

    def rows(x: Tensor) -> Tensor:
        x = x[:, start:stop].transpose(0, 1).to(dtype).unsqueeze(-1)
        return x if valid is None else x.masked_fill(~valid, 0)

    raw = lanes(s.delta)
    if s.bias is not None:
        raw = raw + s.bias.view(groups, 1, -1)
    delta = F.softplus(raw) if s.softplus else raw
    if valid is not None:
        delta = delta.masked_fill(~valid, 0)  # a step behind the end keeps the state: exp(0) h + 0
    resets = None if s.resets is None else s.resets[:, start:stop].t()[..., None, None, None]
    if resets is not None and valid is not None:
        resets = resets & valid
    return _Chunk(lanes(s.u), raw, delta, rows(s.B), rows(s.C), None if s.z is None else lanes(s.z), valid, resets)


def _states(c: _Chunk, A: Tensor, h0: Tensor, decay: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Fill decay [T, B, G, N, E] and hidden [T + 1, ...] (the state before each step, then the last)."""
    steps = c.u.shape[0]
    a, h = decay[:steps], hidden[: steps + 1]
    torch.mul(c.delta, A, out=a)
    a.exp_()
    if c.resets is not None:
        a.masked_fill_(c.resets, 0)
    h[0] = h0
    torch.mul(c.delta * c.u, c.B, out=h[1:])
    for before, now, step in zip(h.unbind(0), h.unbind(0)[1:], a.unbind(0), strict=False):
        now.addcmul_(step, before)
    return a, h


def _buffers(s: ScanInput, count: int) -> tuple[int, list[Tensor]]:
    (batch, steps, channels), (groups, states) = s.u.shape, s.B.shape[2:]
    chunk = chunk_steps(batch, channels, states)
    rows = min(chunk, steps) + 1
    shape = (rows, batch, groups, states, channels // max(1, groups))
    return chunk, [torch.empty(shape, dtype=state_dtype(s.u), device=s.u.device) for _ in range(count)]


def _grouped(s: ScanInput, state: Tensor | None) -> Tensor:
    """A state [B, D, N] as [B, G, N, E]; zeros for None."""
    groups = s.B.shape[2]
    if state is None:
        batch, _, channels = s.u.shape
        shape = (batch, groups, s.A.shape[1], channels // groups)
        return torch.zeros(shape, dtype=state_dtype(s.u), device=s.u.device)
    return state.unflatten(1, (groups, -1)).transpose(2, 3)


def _flat(x: Tensor) -> Tensor:
    """Channels [T, B, G, 1, E] back to [B, T, D]."""
    return x.flatten(2).transpose(0, 1)


def forward(s: ScanInput) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs [B, L, D], last state [B, D, N], and the states before each chunk [B, chunks, N, D]."""
    batch, steps, channels = s.u.shape
    groups, states = s.B.shape[2:]
    chunk, (decay, hidden) = _buffers(s, 2)
    A = s.A.view(groups, -1, states).transpose(1, 2)
    out, h = like(s.u), _grouped(s, s.init)
    saved = saved_states(s, chunk)
    for index, start in enumerate(range(0, steps, chunk)):
        stop = min(start + chunk, steps)
        c = _load(s, start, stop)
        if s.grad:
            saved[:, index] = h.transpose(1, 2).flatten(2)
        _, hs = _states(c, A, h, decay, hidden)
        y = torch.matmul(c.C.transpose(-1, -2), hs[1:])
        if s.D is not None:
            y = torch.addcmul(y, c.u, s.D.view(groups, 1, -1))
        if c.z is not None:
            y = y * F.silu(c.z)
        out[:, start:stop] = _flat(y if c.valid is None else y.masked_fill(~c.valid, 0))
        h = hs[-1].clone()
    return out, h.transpose(2, 3).reshape(batch, channels, states).clone(), saved


def backward(s: ScanInput, saved: Tensor, dout: Tensor, dlast: Tensor) -> ScanGrads:
    """Gradients of every input, the chunks taken from last to first and recomputed from their saved states."""
    _, steps, channels = s.u.shape
    groups, states = s.B.shape[2:]
    chunk, (decay, hidden, adjoint) = _buffers(s, 3)
    A = s.A.view(groups, -1, states).transpose(1, 2).contiguous()
    g = ScanGrads(
        like(s.u), like(s.delta), torch.zeros_like(A), rows_like(s.B), rows_like(s.C), like(None), like(s.z), like(None), like(None)
    )
    lanes = torch.zeros(2, groups, 1, channels // max(1, groups), dtype=A.dtype, device=A.device)  # dD, dbias
    carry = _grouped(s, dlast).contiguous()
    for index in reversed(range(saved.shape[1])):
        span = slice(index * chunk, min(steps, (index + 1) * chunk))
        c = _load(s, span.start, span.stop)
        h0 = saved[:, index].unflatten(-1, (groups, -1)).transpose(1, 2)
        a, h = _states(c, A, h0, decay, hidden)
        dy = dout[:, span].transpose(0, 1).to(A.dtype).unflatten(-1, (groups, -1)).unsqueeze(3)
        if c.valid is not None:
            dy = dy.masked_fill(~c.valid, 0)
        if c.z is not None:
            dy = _ungate(s, c, h, dy, g.z[:, span])
        G = torch.mul(dy, c.C, out=adjoint[: c.u.shape[0]])
        G[-1] += carry
        for now, after, step in zip(reversed(G.unbind(0)[:-1]), reversed(G.unbind(0)[1:]), reversed(a.unbind(0)[1:]), strict=True):
            now.addcmul_(step, after)
        g.C[:, span] = torch.matmul(h[1:], dy.transpose(-1, -2)).squeeze(-1).transpose(0, 1)
        g.B[:, span] = torch.matmul(G, (c.delta * c.u).transpose(-1, -2)).squeeze(-1).transpose(0, 1)
        s1 = torch.matmul(c.B.transpose(-1, -2), G)
        w = G.mul_(a)
        carry = w[0].clone()
        w.mul_(h[:-1])
        ddelta = torch.mul(w, A, out=a).sum(3, keepdim=True).addcmul_(s1, c.u)
        g.A.add_(w.mul_(c.delta).sum((0, 1)))
        du = s1 * c.delta
        if s.D is not None:
            du.addcmul_(dy, s.D.view(groups, 1, -1))
            lanes[0] += (dy * c.u).sum((0, 1))
        if s.softplus:
            ddelta = ddelta * torch.sigmoid(c.raw)
        if c.valid is not None:
            du, ddelta = du.masked_fill_(~c.valid, 0), ddelta.masked_fill(~c.valid, 0)
        lanes[1] += ddelta.sum((0, 1))
        g.u[:, span], g.delta[:, span] = _flat(du), _flat(ddelta)
    return _finished(s, g, lanes.view(2, channels), carry)


def _ungate(s: ScanInput, c: _Chunk, h: Tensor, dout: Tensor, dz: Tensor) -> Tensor:
    """Gradient before the gate SiLU(z); z's own gradient is written into dz [B, T, D]."""
    assert c.z is not None
    y = torch.matmul(c.C.transpose(-1, -2), h[1:])
    if s.D is not None:
        y = torch.addcmul(y, c.u, s.D.view(s.B.shape[2], 1, -1))
    gate = torch.sigmoid(c.z)
    dz.copy_(_flat(dout * y * gate * (1 + c.z * (1 - gate))))
    return dout * c.z * gate


def _finished(s: ScanInput, g: ScanGrads, lanes: Tensor, carry: Tensor) -> ScanGrads:
    return g._replace(
        A=g.A.transpose(1, 2).reshape(s.A.shape),
        D=torch.empty(0) if s.D is None else lanes[0].clone(),
        bias=torch.empty(0) if s.bias is None else lanes[1].clone(),
        init=torch.empty(0) if s.init is None else carry.transpose(2, 3).reshape(s.init.shape).clone(),
    )
