"""A BERT-style Transformer encoder over frames, on scaled-dot-product attention."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from sigssl.errors import UserError
from sigssl.nn.linear import Linear
from sigssl.nn.position import SinusoidalPositions
from sigssl.types import frame_mask

EPS = 1e-12  # of every layer norm, inside the root, as in BERT
INIT_STD = 0.02


class TransformerEncoder(nn.Module):
    """Frames -> `layers + 1` hidden states: the embedded input, then every layer's output.

    Post-norm as in BERT, Mockingjay (Liu et al. 2020, section 2.1) and TERA; `share_layers` makes it AudioALBERT
    (Chi et al. 2021). Weights start at N(0, 0.02), biases at 0.

    Args:
        input_dim: F, width of the frames.
        dim: D, width of the states.
        layers: how many.
        heads: attention heads; `dim` must be a multiple.
        ffn: inner width of the feed-forward part.
        dropout: on the embedding and on each sublayer's output.
        attention_dropout: on attention probabilities. The default 0 keeps the fast attention kernels, which on two cores saves a
            third of a training step; published TERA used the value of `dropout`.
        share_layers: use one layer's weights `layers` times.
        norm: "post" (published models), or "pre": norm before each sublayer, a trained norm on the last state and a
            plain one on the states before it.
    """

    def __init__(
        self,
        input_dim: int,
        dim: int = 768,
        layers: int = 3,
        heads: int = 12,
        ffn: int = 3072,
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
        share_layers: bool = False,
        norm: Literal["post", "pre"] = "post",
    ) -> None:
        super().__init__()
        if dim % heads:
            raise UserError(
                f"TransformerEncoder: dim {dim} is no multiple of heads {heads}: choose {dim // heads * heads or heads}."
            )
        self.input_dim, self.dim, self.layers, self.heads, self.ffn = input_dim, dim, layers, heads, ffn
        self.dropout, self.attention_dropout = dropout, attention_dropout
        self.share_layers = share_layers
        self.norm: Literal["post", "pre"] = norm
        self.embed = nn.Linear(input_dim, dim)
        self.embed_norm = nn.LayerNorm(dim, eps=EPS)
        self.positions = SinusoidalPositions(dim)
        self.blocks = nn.ModuleList(
            TransformerLayer(dim, heads, ffn, dropout, attention_dropout, norm) for _ in range(1 if share_layers else layers)
        )
        self.final_norm = nn.LayerNorm(dim, eps=EPS) if norm == "pre" else None
        self.apply(init_weights)

    def forward(
        self, frames: Float[Tensor, "batch time features"], lengths: Int[Tensor, " batch"]
    ) -> list[Float[Tensor, "batch time dim"]]:
        """Encode a padded batch.

        Args:
            frames: [B, T, F]; what lies behind the lengths is ignored, NaN included.
            lengths: valid frames of each item [B].

        Returns:
            `layers + 1` states [B, T, D]; those of padded frames mean nothing.
        """
        frames, mask = hide_padding(frames, lengths)
        x = self.embed_norm(self.embed(frames) + self.positions(frames.shape[1]))
        states = [F.dropout(x, self.dropout, self.training)]
        for index in range(self.layers):
            block = self.blocks[0 if self.share_layers else index]
            states.append(block(states[-1], mask))
        if self.final_norm is None:
            return states
        return [F.layer_norm(s, (self.dim,), eps=EPS) for s in states[:-1]] + [self.final_norm(states[-1])]


class TransformerLayer(nn.Module):
    """Self-attention and a GELU feed-forward part, each with dropout, residual and layer norm."""

    def __init__(
        self,
        dim: int,
        heads: int,
        ffn: int,
        dropout: float,
        attention_dropout: float,
        norm: Literal["post", "pre"],
        eps: float = EPS,
    ) -> None:
        super().__init__()
        self.heads, self.dropout, self.attention_dropout, self.norm = heads, dropout, attention_dropout, norm
        self.qkv = Linear(dim, 3 * dim)  # query, key, value stacked: one product in place of three
        self.out = Linear(dim, dim)
        self.attention_norm = nn.LayerNorm(dim, eps=eps)
        self.up = Linear(dim, ffn)
        self.down = Linear(ffn, dim)
        self.ffn_norm = nn.LayerNorm(dim, eps=eps)

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: Bool[Tensor, "batch 1 1 time"] | None = None
    ) -> Float[Tensor, "batch time dim"]:
        """One layer; `mask` is true on the frames that may be attended to, None where all may."""
        if self.norm == "pre":
            x = x + self.drop(self.attend(self.attention_norm(x), mask))
            return x + self.drop(self.feed(self.ffn_norm(x)))
        x = self.attention_norm(x + self.drop(self.attend(x, mask)))
        return self.ffn_norm(x + self.drop(self.feed(x)))

    def attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Multi-head self-attention [B, T, D] -> [B, T, D]."""
        batch, time, dim = x.shape
        query, key, value = self.qkv(x).view(batch, time, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        dropout = self.attention_dropout if self.training else 0.0
        if mask is None and not dropout and _short(query):
            weights = (query * query.shape[3] ** -0.5 @ key.transpose(2, 3)).softmax(3)
            mixed = weights.to(value.dtype) @ value
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        return self.out(mixed.transpose(1, 2).reshape(batch, time, dim))

    def feed(self, x: Tensor) -> Tensor:
        """The feed-forward part, with the exact (erf) GELU."""
        return self.down(F.gelu(self.up(x)))

    def drop(self, x: Tensor) -> Tensor:
        """Dropout while training."""
        return F.dropout(x, self.dropout, self.training)


def _short(query: Tensor) -> bool:
    """Whether plain products beat the fused kernel, which is slow on processors for short inputs and in bfloat16.

    Forward and backward over 20 frames are 1.3 times as fast in float32 and 6 times in bfloat16; over 73 frames 6 times in
    bfloat16, and no faster in float32.
    """
    longest = 32 if query.dtype == torch.float32 else 128
    return query.device.type == "cpu" and query.shape[2] <= longest


class ReconstructionHead(nn.Module):
    """Last hidden state -> frames: Linear, GELU, layer norm, Linear (the "SpecHead" of Mockingjay and TERA)."""

    def __init__(self, dim: int, output_dim: int) -> None:
        super().__init__()
        self.dense = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.output = nn.Linear(dim, output_dim)
        self.apply(init_weights)

    def forward(self, x: Float[Tensor, "batch time dim"]) -> Float[Tensor, "batch time features"]:
        """Predict frames [B, T, F] from states [B, T, D]."""
        return self.output(self.norm(F.gelu(self.dense(x))))


def hide_padding(
    frames: Float[Tensor, "batch time features"], lengths: Int[Tensor, " batch"]
) -> tuple[Float[Tensor, "batch time features"], Bool[Tensor, "batch 1 1 time"] | None]:
    """Fill the padding with zeros and make the attention mask.

    Attention returns NaN where a *masked* value is NaN (0 x NaN), hence the fill. Where nothing is padded the frames come back
    as they are, with None: the unmasked kernels are faster. An item of length 0 attends to its first (zero) frame, so that its
    softmax stays finite.

    Returns:
        The frames, and a boolean mask [B, 1, 1, T] or None.
    """
    time = frames.shape[1]
    if bool((lengths >= time).all()):
        return frames, None
    valid = frame_mask(lengths, time)
    mask = frame_mask(lengths.clamp(min=1), time)
    return frames.masked_fill(~valid[:, :, None], 0.0), mask[:, None, None, :]


def init_weights(module: nn.Module) -> None:
    """BERT's initialisation, for `Module.apply`: every Linear weight N(0, 0.02), bias 0."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=INIT_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
