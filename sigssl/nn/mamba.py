"""The Mamba layer with mamba_ssm's parameter names, shapes and initialisation, so that weights move both ways."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from sigssl.nn.scan import conv_silu, selective_scan
from sigssl.types import frame_mask


class MambaState(NamedTuple):
    """What a Mamba layer remembers between calls: the last `d_conv` inputs of its convolution, and the scan's state.

    The shapes are those of mamba_ssm's inference cache.
    """

    conv: Float[Tensor, "batch inner width"]
    ssm: Float[Tensor, "batch inner states"]


class Mamba(nn.Module):
    """Selective state-space layer (Gu & Dao 2023, section 3.4): neither residual nor norm, see MambaBlock for these.

    Args:
        d_model: width of inputs and outputs.
        d_state: states of each inner channel.
        d_conv: width of the causal depthwise convolution.
        expand: inner channels are `expand * d_model`.
        dt_rank: rank of the step size's projection; "auto" is ceil(d_model / 16).
        dt_min: smallest initial step size.
        dt_max: largest initial step size.
        dt_init: weights of dt_proj, "random" (uniform) or "constant".
        dt_scale: factor on them.
        dt_init_floor: initial step sizes are no smaller.
        conv_bias: whether the convolution has a bias.
        bias: whether in_proj and out_proj have one.
        backend: engine of the scan, see :func:`sigssl.nn.selective_scan`.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        dt_rank: int | str = "auto",
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_init: str = "random",
        dt_scale: float = 1.0,
        dt_init_floor: float = 1e-4,
        conv_bias: bool = True,
        bias: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.d_model, self.d_state, self.d_conv, self.expand = d_model, d_state, d_conv, expand
        self.dt_rank = math.ceil(d_model / 16) if dt_rank == "auto" else int(dt_rank)
        self.dt_min, self.dt_max, self.dt_init, self.dt_scale = dt_min, dt_max, dt_init, dt_scale
        self.dt_init_floor, self.conv_bias, self.bias, self.backend = dt_init_floor, conv_bias, bias, backend
        self.d_inner = int(expand * d_model)
        self.in_proj = nn.Linear(d_model, 2 * self.d_inner, bias=bias)
        self.conv1d = nn.Conv1d(self.d_inner, self.d_inner, d_conv, groups=self.d_inner, padding=d_conv - 1, bias=conv_bias)
        self.x_proj = nn.Linear(self.d_inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, self.d_inner)
        self.A_log = nn.Parameter(torch.log(torch.arange(1, d_state + 1, dtype=torch.float32)).repeat(self.d_inner, 1))
        self.D = nn.Parameter(torch.ones(self.d_inner))
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=bias)
        for parameter in (self.A_log, self.D):
            parameter._no_weight_decay = True  # type: ignore[attr-defined]
        self._init_dt()

    def _init_dt(self) -> None:
        """Step sizes log-uniform in [dt_min, dt_max], through the inverse of softplus in the bias."""
        std = self.dt_rank**-0.5 * self.dt_scale
        if self.dt_init == "constant":
            nn.init.constant_(self.dt_proj.weight, std)
        else:
            nn.init.uniform_(self.dt_proj.weight, -std, std)
        low, high = math.log(self.dt_min), math.log(self.dt_max)
        dt = torch.exp(torch.rand(self.d_inner) * (high - low) + low).clamp(min=self.dt_init_floor)
        with torch.no_grad():
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))
        self.dt_proj.bias._no_reinit = True  # type: ignore[attr-defined]  # a later global initialisation must leave it alone

    def forward(
        self,
        x: Float[Tensor, "batch frames dim"],
        lengths: Int[Tensor, " batch"] | None = None,
        resets: Bool[Tensor, "batch frames"] | None = None,
    ) -> Float[Tensor, "batch frames dim"]:
        """Map a sequence causally.

        Args:
            x: frames.
            lengths: valid frames; what is behind them changes nothing, and the outputs there are zero (or out_proj's bias).
            resets: true on frames that begin a new sequence in the same row (packing): nothing before them is seen.

        Returns:
            Frames of the same shape.
        """
        return self._run(x, lengths, resets, None, False)[0]

    def forward_with_state(
        self,
        x: Float[Tensor, "batch frames dim"],
        state: MambaState | None = None,
        lengths: Int[Tensor, " batch"] | None = None,
        resets: Bool[Tensor, "batch frames"] | None = None,
    ) -> tuple[Float[Tensor, "batch frames dim"], MambaState]:
        """`forward` that goes on from `state` and also returns the state after the last valid frame: chunked streaming."""
        y, after = self._run(x, lengths, resets, state, True)
        assert after is not None
        return y, after

    def _run(
        self, x: Tensor, lengths: Tensor | None, resets: Tensor | None, state: MambaState | None, keep: bool
    ) -> tuple[Tensor, MambaState | None]:
        if lengths is not None:
            x = x.masked_fill(~frame_mask(lengths.to(x.device), x.shape[1])[..., None], 0)
        inner, gate = self.in_proj(x).split(self.d_inner, dim=-1)
        before = None if state is None else state.conv[..., 1:]
        hidden = conv_silu(inner, self.conv1d.weight[:, 0], self.conv1d.bias, before, resets, self.backend)
        dt, B, C = self.x_proj(hidden).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        result = selective_scan(
            hidden.transpose(1, 2),
            F.linear(dt, self.dt_proj.weight).transpose(1, 2),
            -torch.exp(self.A_log.float()),
            B.transpose(1, 2),
            C.transpose(1, 2),
            self.D,
            gate.transpose(1, 2),
            self.dt_proj.bias,
            delta_softplus=True,
            return_last_state=True,
            initial_state=None if state is None else state.ssm,
            lengths=lengths,
            resets=resets,
            backend=self.backend,
        )
        assert isinstance(result, tuple)
        y, ssm = result
        after = MambaState(self._tail(inner, lengths, resets, state), ssm) if keep else None
        return self.out_proj(y.transpose(1, 2)), after

    def _tail(self, inner: Tensor, lengths: Tensor | None, resets: Tensor | None, state: MambaState | None) -> Tensor:
        """The last d_conv valid inputs of the convolution, zeros where they belong to a sequence before a reset."""
        batch, frames, channels = inner.shape
        past = inner.new_zeros(batch, self.d_conv, channels) if state is None else state.conv.transpose(1, 2).to(inner.dtype)
        joined = torch.cat([past, inner], 1)
        ends = torch.full((batch,), frames, device=inner.device) if lengths is None else lengths.to(inner.device)
        rows = ends[:, None] + torch.arange(self.d_conv, device=inner.device)
        tail = joined.gather(1, rows[..., None].expand(-1, -1, channels))
        if resets is not None:
            marks = torch.cat([resets.new_zeros(batch, self.d_conv), resets], 1).gather(1, rows)
            later = marks.flip(1).cumsum(1).flip(1) - marks.long()  # resets that come after this input
            tail = tail.masked_fill((later > 0)[..., None], 0)
        return tail.transpose(1, 2)

    def allocate_inference_cache(
        self, batch_size: int, max_seqlen: int = 0, dtype: torch.dtype | None = None
    ) -> tuple[Float[Tensor, "batch inner width"], Float[Tensor, "batch inner states"]]:
        """Zero state for :meth:`step`, as in mamba_ssm (`max_seqlen` is not needed and only there for its sake)."""
        weight = self.in_proj.weight
        conv = weight.new_zeros(batch_size, self.d_inner, self.d_conv, dtype=dtype or weight.dtype)
        return conv, torch.zeros(batch_size, self.d_inner, self.d_state, device=weight.device)

    def step(
        self,
        hidden_states: Float[Tensor, "batch 1 dim"],
        conv_state: Float[Tensor, "batch inner width"],
        ssm_state: Float[Tensor, "batch inner states"],
    ) -> tuple[Float[Tensor, "batch 1 dim"], Float[Tensor, "batch inner width"], Float[Tensor, "batch inner states"]]:
        """One frame at a time, as in mamba_ssm: both states are updated in place and returned.

        Args:
            hidden_states: the next frame.
            conv_state: the last d_conv inputs of the convolution.
            ssm_state: the scan's state, float32.

        Returns:
            The output frame, equal to what `forward` gives at this place, and the two states.
        """
        inner, gate = self.in_proj(hidden_states[:, 0]).split(self.d_inner, dim=-1)
        conv_state.copy_(torch.cat([conv_state[..., 1:], inner[..., None]], -1))
        hidden = (conv_state * self.conv1d.weight[:, 0]).sum(-1)
        hidden = F.silu(hidden if self.conv1d.bias is None else hidden + self.conv1d.bias).to(inner.dtype)
        dt, B, C = self.x_proj(hidden).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        delta = F.softplus(F.linear(dt, self.dt_proj.weight).float() + self.dt_proj.bias.float())
        decay = torch.exp(delta[..., None] * -torch.exp(self.A_log.float()))
        ssm_state.mul_(decay).add_((delta * hidden.float())[..., None] * B.float()[:, None])
        y = torch.einsum("bdn,bn->bd", ssm_state, C.float()) + self.D.float() * hidden.float()
        y = (y * F.silu(gate.float())).to(gate.dtype)
        return self.out_proj(y)[:, None], conv_state, ssm_state
