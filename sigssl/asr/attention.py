"""A small Transformer decoder over tokens that attends to a head's frames (Vaswani et al. 2017), with pre-norm blocks.

Token 0, CTC's blank, which no text holds, stands for the start and the end of a sentence.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from sigssl.errors import UserError
from sigssl.nn.position import SinusoidalPositions
from sigssl.types import frame_mask

EDGE = 0  # start and end of a sentence
IGNORE = -100  # label of padding


class Cache(NamedTuple):
    """What a step needs of the steps before it: keys and values of each block [B, heads, L, D / heads]."""

    keys: list[Tensor]
    values: list[Tensor]

    def pick(self, rows: Tensor) -> Cache:
        """Those of some hypotheses, in that order."""
        return Cache([k[rows] for k in self.keys], [v[rows] for v in self.values])


class Read(NamedTuple):
    """Frames as each block attends to them: keys and values [B, heads, T, D / heads], and the mask of valid ones [B, 1, 1, T]."""

    keys: list[Tensor]
    values: list[Tensor]
    mask: Tensor

    def of(self, block: int) -> tuple[Tensor, Tensor, Tensor]:
        """Those of one block."""
        return self.keys[block], self.values[block], self.mask


class AttentionDecoder(nn.Module):
    """Tokens so far and frames -> logits of the next token.

    Args:
        tokens: how many, the blank included.
        memory_dim: width of the frames.
        dim: width.
        layers: blocks.
        heads: attention heads; `dim` must be a multiple.
        ffn: inner width of the feed-forward part.
        dropout: of embeddings and of every sublayer's output.
    """

    def __init__(
        self, tokens: int, memory_dim: int, dim: int = 256, layers: int = 2, heads: int = 4, ffn: int = 1024, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if dim % heads:
            raise UserError(f"decoder: dim {dim} is no multiple of heads {heads}.")
        self.tokens, self.memory_dim, self.dim, self.layers = tokens, memory_dim, dim, layers
        self.heads, self.ffn, self.dropout = heads, ffn, dropout
        self.embed = nn.Embedding(tokens, dim)
        nn.init.normal_(self.embed.weight, std=dim**-0.5)
        self.positions = SinusoidalPositions(dim)
        self.bridge = nn.Linear(memory_dim, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, ffn, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, tokens)

    def forward(
        self,
        memory: Float[Tensor, "batch time wide"],
        lengths: Int[Tensor, " batch"],
        inputs: Int[Tensor, "batch places"],
    ) -> Float[Tensor, "batch places tokens"]:
        """Logits of every next token, given those before it.

        Args:
            memory: frames [B, T, H].
            lengths: valid frames.
            inputs: the edge, then the tokens [B, 1 + L]; anything behind a sentence's end.
        """
        read = self.read(memory, lengths)
        x = self._embedded(inputs, 0)
        for number, block in enumerate(self.blocks):
            x = block(x, *read.of(number))[0]
        return self.output(self.norm(x)).float()

    def read(self, memory: Tensor, lengths: Tensor) -> Read:
        """What every block attends to, computed once for all tokens."""
        valid = frame_mask(lengths, memory.shape[1])
        frames = self.bridge(memory.masked_fill(~valid[:, :, None], 0.0))
        pairs = [block.attend_to(frames) for block in self.blocks]  # type: ignore[operator]
        mask = frame_mask(lengths.clamp(min=1), memory.shape[1])[:, None, None, :]
        return Read([key for key, _ in pairs], [value for _, value in pairs], mask)

    def step(self, read: Read, last: Int[Tensor, " batch"], cache: Cache | None) -> tuple[Float[Tensor, "batch tokens"], Cache]:
        """Ln P of the next token, given the last one and what the steps before left.

        Args:
            read: as from :meth:`read`, of as many items, or of one that all hypotheses share.
            last: the last token of each hypothesis; :data:`EDGE` at first.
            cache: what the step before gave; None at first.
        """
        x = self._embedded(last[:, None], 0 if cache is None else cache.keys[0].shape[2])
        all_keys, all_values = ([t.expand(len(last), -1, -1, -1) for t in part] for part in (read.keys, read.values))
        shared = Read(all_keys, all_values, read.mask)
        keys, values = [], []
        for number, block in enumerate(self.blocks):
            x, key, value = block(x, *shared.of(number), None if cache is None else (cache.keys[number], cache.values[number]))
            keys.append(key)
            values.append(value)
        return self.output(self.norm(x[:, 0])).float().log_softmax(-1), Cache(keys, values)

    def _embedded(self, tokens: Tensor, first: int) -> Tensor:
        x = self.embed(tokens) * self.dim**0.5 + self.positions(first + tokens.shape[1])[first:]
        return F.dropout(x, self.dropout, self.training)


class Block(nn.Module):
    """Causal self-attention, attention to the frames, a feed-forward part; each x + dropout(f(norm(x)))."""

    def __init__(self, dim: int, heads: int, ffn: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.self_norm, self.cross_norm, self.ffn_norm = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.self_out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.query, self.key_value, self.cross_out = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, ffn), nn.Linear(ffn, dim)

    def forward(
        self, x: Tensor, read_keys: Tensor, read_values: Tensor, mask: Tensor, past: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Map tokens [B, L, D] that attend to frames; with `past` (keys, values of the tokens before) they follow those.

        Returns:
            The output, and keys and values of all tokens so far.
        """
        query, key, value = (self._split(part) for part in self.qkv(self.self_norm(x)).chunk(3, -1))
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=past is None)
        x = x + self._drop(self.self_out(mixed.transpose(1, 2).flatten(2)))
        query = self._split(self.query(self.cross_norm(x)))
        mixed = F.scaled_dot_product_attention(query, read_keys, read_values, attn_mask=mask)
        x = x + self._drop(self.cross_out(mixed.transpose(1, 2).flatten(2)))
        return x + self._drop(self.down(F.gelu(self.up(self.ffn_norm(x))))), key, value

    def attend_to(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of frames [B, T, D]."""
        key, value = self.key_value(frames).chunk(2, -1)
        return self._split(key), self._split(value)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


def teacher(targets: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Inputs (edge, tokens) and labels (tokens, edge) of sentences, padded [B, 1 + longest]."""
    width = 1 + max(map(len, targets))
    inputs = torch.tensor([[EDGE, *t] + [EDGE] * (width - 1 - len(t)) for t in targets], device=device)
    labels = torch.tensor([[*t, EDGE] + [IGNORE] * (width - 1 - len(t)) for t in targets], device=device)
    return inputs, labels
