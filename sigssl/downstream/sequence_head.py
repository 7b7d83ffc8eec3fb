"""The temporal context head: features of the epochs of a night -> stages, many to many."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sigssl.errors import UserError, nearest
from sigssl.nn.mamba_encoder import MambaBlock
from sigssl.nn.recurrent import FeedForwardBlock, RecurrentBlock
from sigssl.nn.transformer import TransformerEncoder
from sigssl.types import frame_mask

Kind = Literal["mamba", "bimamba", "gru", "bigru", "lstm", "bilstm", "transformer", "none"]
CAUSAL = ("mamba", "gru", "lstm", "none")


class SequenceHead(nn.Module):
    """Standardise, project, blocks over time, norm, classes: logits for every epoch of a sequence of any length.

    NeuroNet's temporal context module (Lee et al. 2024) is one bare Mamba over 20 epochs; here blocks have residual and norm, may
    look both ways, and see sequences of any length (specs: neuronet.md section 11).

    Args:
        input_dim: F, width of an epoch's features.
        kind: what mixes epochs: mamba, gru, lstm (causal: an epoch sees itself and the past), bimamba, bigru, bilstm,
            transformer (an epoch sees the whole sequence), or none.
        classes: K.
        dim: width D; for recurrent kinds also the units of each direction.
        layers: blocks.
        dropout: of each block's output.
        input_dropout: of the projected input.
        d_state: states of each inner channel (Mamba).
        d_conv: width of the convolution (Mamba).
        expand: inner channels are `expand * dim` (Mamba, none).
        heads: attention heads (transformer).
        residual: norm and residual around recurrent layers; without it they are stacked as they are.
        squash: standardised features x become s tanh(x / s), so that no artefact reaches far; 0: they stay.
        backend: engine of the scan (Mamba).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        input_dim: int,
        kind: str = "bimamba",
        classes: int = 5,
        dim: int = 128,
        layers: int = 2,
        dropout: float = 0.2,
        input_dropout: float = 0.1,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        heads: int = 4,
        residual: bool = True,
        squash: float = 0.0,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if kind not in get_args(Kind):
            raise UserError(
                f"SequenceHead: kind is {kind!r}, expected one of {', '.join(get_args(Kind))}.{nearest(kind, get_args(Kind))}"
            )
        self.input_dim, self.classes, self.dim, self.layers = input_dim, classes, dim, layers
        self.kind = kind
        self.dropout, self.input_dropout, self.d_state, self.d_conv = dropout, input_dropout, d_state, d_conv
        self.expand, self.heads, self.residual, self.squash, self.backend = expand, heads, residual, squash, backend
        self.register_buffer("mean", torch.zeros(input_dim))
        self.register_buffer("std", torch.ones(input_dim))
        self.embed = nn.Sequential(nn.Linear(input_dim, dim), nn.Dropout(input_dropout))
        self.blocks = nn.ModuleList(self._blocks())
        last = self.blocks[-1] if layers else None
        width = last.dim if isinstance(last, RecurrentBlock) else dim
        self.final = nn.RMSNorm(width, eps=1e-5)
        self.classify = nn.Linear(width, classes)

    def _blocks(self) -> list[nn.Module]:
        dim, drop = self.dim, self.dropout
        if self.kind in ("mamba", "bimamba"):
            both = self.kind == "bimamba"
            return [
                MambaBlock(dim, self.d_state, self.d_conv, self.expand, both, drop, backend=self.backend)
                for _ in range(self.layers)
            ]
        if self.kind == "transformer":
            return [TransformerEncoder(dim, dim, self.layers, self.heads, 4 * dim, drop, norm="pre")]
        if self.kind == "none":
            return [FeedForwardBlock(dim, self.expand, drop) for _ in range(self.layers)]
        both, cell = self.kind.startswith("bi"), self.kind.removeprefix("bi")
        blocks: list[nn.Module] = []
        for _ in range(self.layers):
            block = RecurrentBlock(dim, self.dim, cell, both, self.residual, drop)
            blocks.append(block)
            dim = block.dim
        return blocks

    @property
    def causal(self) -> bool:
        """Whether an epoch's logits depend on itself and earlier epochs only."""
        return self.kind in CAUSAL

    def standardise(self, features: Float[Tensor, "epochs features"]) -> None:
        """Take mean and deviation of the training epochs; features that do not vary keep deviation 1."""
        spread, mean = torch.std_mean(features.double(), dim=0, correction=0)
        with torch.no_grad():
            self.mean.copy_(mean)
            self.std.copy_(torch.where(spread > 1e-6, spread, 1.0))

    def prepare(self, x: Float[Tensor, "batch epochs features"]) -> Float[Tensor, "batch epochs features"]:
        """Standardised, and squashed, features."""
        x = (x - self.mean) / self.std
        return self.squash * torch.tanh(x / self.squash) if self.squash else x

    def forward(
        self, x: Float[Tensor, "batch epochs features"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch epochs classes"]:
        """Logits of every epoch.

        Args:
            x: features of the epochs; what is behind the lengths changes nothing, NaN included.
            lengths: epochs of each sequence; all of them where None.

        Returns:
            Logits [B, T, K]; those behind the lengths mean nothing.
        """
        x = self.prepare(x)
        if lengths is not None:
            lengths = lengths.to(x.device)
            x = x.masked_fill(~frame_mask(lengths, x.shape[1])[..., None], 0.0)
        hidden = self.embed(x)
        for block in self.blocks:
            if isinstance(block, TransformerEncoder):
                whole = torch.full((len(x),), x.shape[1], device=x.device) if lengths is None else lengths
                hidden = block(hidden, whole)[-1]
            else:
                hidden = block(hidden, lengths)
        return self.classify(self.final(hidden))

    def stream(
        self, x: Float[Tensor, "batch epochs features"], states: list[Any] | None = None
    ) -> tuple[Float[Tensor, "batch epochs classes"], list[Any]]:
        """Logits of the next epochs as `forward` gives them for the whole, and the memory for the next call.

        Raises:
            UserError: the head is not causal.
        """
        if not self.causal:
            raise UserError(f"a {self.kind} head sees the whole night and cannot stream; use one of {', '.join(CAUSAL)}.")
        hidden, after = self.embed(self.prepare(x)), []
        for index, block in enumerate(self.blocks):
            assert isinstance(block, (MambaBlock, RecurrentBlock, FeedForwardBlock))
            hidden, state = block.forward_with_state(hidden, None if states is None else states[index])
            after.append(state)
        return self.classify(self.final(hidden)), after


def masked_cross_entropy(
    logits: Float[Tensor, "batch epochs classes"],
    stages: Int[Tensor, "batch epochs"],
    lengths: Int[Tensor, " batch"] | None = None,
    weights: Float[Tensor, " classes"] | None = None,
    smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean cross-entropy over the scored epochs within the lengths; stages below 0 (unscored) carry no loss.

    Args:
        logits: of every epoch.
        stages: class numbers, negative where unscored.
        lengths: valid epochs.
        weights: of the classes, by which the mean is weighted.
        smoothing: share of the target spread over all classes.
    """
    scored: Bool[Tensor, "batch epochs"] = stages >= 0
    if lengths is not None:
        scored = scored & frame_mask(lengths.to(stages.device), stages.shape[1])
    if not bool(scored.any()):
        return logits.nan_to_num().sum() * 0.0
    return nn.functional.cross_entropy(logits[scored], stages[scored].long(), weights, label_smoothing=smoothing)
