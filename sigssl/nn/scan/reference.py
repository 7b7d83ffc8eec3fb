"""The definition of the selective scan: a plain loop over time under autograd. Slow; what the engines are tested against."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sigssl.nn.scan.problem import ScanInput, state_dtype
from sigssl.types import frame_mask


def scan(s: ScanInput) -> tuple[Tensor, Tensor]:
    """Run the recurrence step by step (Gu & Dao 2023, section 3.2: zero-order hold on A, Euler on B).

    h_t = exp(delta_t A) h_{t-1} + (delta_t u_t) B_t and y_t = (<C_t, h_t> + D u_t) SiLU(z_t).

    Returns:
        y [B, L, D] in u's dtype, zero behind the lengths, and the state [B, D, N] after each item's last valid step.
    """
    dtype = state_dtype(s.u)
    batch, steps, channels = s.u.shape
    groups, states = s.B.shape[2:]
    valid = torch.ones(batch, steps, dtype=torch.bool, device=s.u.device)
    if s.lengths is not None:
        valid = frame_mask(s.lengths, steps)
    keep = valid[..., None]
    u, delta = (x.to(dtype).masked_fill(~keep, 0) for x in (s.u, s.delta))
    B, C = (x.to(dtype).masked_fill(~keep[..., None], 0).repeat_interleave(channels // groups, 2) for x in (s.B, s.C))
    if s.bias is not None:
        delta = delta + s.bias
    if s.softplus:
        delta = F.softplus(delta)
    h = torch.zeros(batch, channels, states, dtype=dtype, device=u.device) if s.init is None else s.init
    outputs = []
    for t in range(steps):
        before = h if s.resets is None else torch.where(s.resets[:, t, None, None], 0.0, h)
        after = (delta[:, t, :, None] * s.A).exp() * before + (delta[:, t] * u[:, t])[..., None] * B[:, t]
        outputs.append((after * C[:, t]).sum(-1))
        h = torch.where(keep[:, t, None], after, h)
    y = torch.stack(outputs, 1) if outputs else u
    if s.D is not None:
        y = y + s.D * u
    if s.z is not None:
        y = y * F.silu(s.z.to(dtype).masked_fill(~keep, 0))
    return y.masked_fill(~keep, 0).to(s.u.dtype), h
