"""A masked autoencoder over tokens: the encoder sees the kept ones, the decoder answers for all."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sigssl.errors import UserError
from sigssl.nn.transformer import TransformerLayer

EPS = 1e-6
Positions = Literal["sincos1d", "learned", "reference"]


class MaskedEncoder(nn.Module):
    """Tokens [B, F, I] -> states of a class token and of the (kept) tokens; pre-norm blocks as in a vision transformer.

    Args:
        input_dim: I.
        frames: F.
        dim: D.
        heads: of attention.
        depth: blocks.
        positions: "sincos1d": sine and cosine of the frame's number, frozen; "learned"; "reference": NeuroNet's, an image's
            2-D table on a grid of F x 1, so that the first half of the dimensions is the same in every frame, frozen.
    """

    def __init__(
        self,
        input_dim: int = 256,
        frames: int = 73,
        dim: int = 512,
        heads: int = 8,
        depth: int = 4,
        positions: Positions = "sincos1d",
    ) -> None:
        super().__init__()
        _check_heads(dim, heads)
        self.embed = nn.Linear(input_dim, dim)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        table = torch.cat([torch.zeros(1, dim), position_table(frames, dim, positions)])[None]  # the class token has none
        self.positions = nn.Parameter(table, requires_grad=positions == "learned")
        self.blocks = nn.ModuleList(TransformerLayer(dim, heads, 4 * dim, 0.0, 0.0, "pre", EPS) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.apply(init_weights)

    def forward(
        self, tokens: Float[Tensor, "batch frames input"], keep: Int[Tensor, "batch kept"] | None = None
    ) -> Float[Tensor, "batch kept_and_class dim"]:
        """Last states, the class token's first.

        Args:
            tokens: all of them.
            keep: numbers of those that are seen [B, K]; None: all.
        """
        x = self.embedded(tokens, keep)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def states(self, tokens: Float[Tensor, "batch frames input"]) -> list[Float[Tensor, "batch frames_and_class dim"]]:
        """The embedding and every block's output, the last one normed; the class token first in each."""
        states = [self.embedded(tokens, None)]
        for block in self.blocks:
            states.append(block(states[-1]))
        return [*states[:-1], self.norm(states[-1])]

    def embedded(self, tokens: Tensor, keep: Tensor | None) -> Tensor:
        """Embed the kept tokens only (the others would be thrown away), add positions, put the class token first."""
        place = self.positions[:, 1:]
        if keep is not None:
            tokens = tokens.gather(1, keep[:, :, None].expand(-1, -1, tokens.shape[2]))
            place = place[0][keep]
        x = self.embed(tokens) + place
        cls = (self.cls_token + self.positions[:, :1]).expand(len(x), -1, -1)
        return torch.cat([cls.to(x.dtype), x], 1)


class MaskedDecoder(nn.Module):
    """States of the kept tokens -> predictions of all frames.

    Args:
        input_dim: width of the encoder's states.
        frames: F.
        dim: D.
        heads: of attention.
        depth: blocks.
        output_dim: O, width of what is predicted.
        positions: as in :class:`MaskedEncoder`.
    """

    def __init__(
        self,
        input_dim: int = 512,
        frames: int = 73,
        dim: int = 192,
        heads: int = 8,
        depth: int = 1,
        output_dim: int = 256,
        positions: Positions = "sincos1d",
    ) -> None:
        super().__init__()
        _check_heads(dim, heads)
        self.embed = nn.Linear(input_dim, dim)
        self.mask_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.positions = nn.Parameter(position_table(frames, dim, positions)[None], requires_grad=positions == "learned")
        self.blocks = nn.ModuleList(TransformerLayer(dim, heads, 4 * dim, 0.0, 0.0, "pre", EPS) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.predict = nn.Linear(dim, output_dim)
        self.apply(init_weights)

    def forward(
        self, states: Float[Tensor, "batch kept input"], keep: Int[Tensor, "batch kept"]
    ) -> Float[Tensor, "batch frames output"]:
        """Predictions [B, F, O] from the kept tokens' states (without the class token) and their numbers."""
        seen = self.embed(states)
        x = self.mask_token.to(seen.dtype).expand(len(seen), self.positions.shape[1], -1)
        x = x.scatter(1, keep[:, :, None].expand(-1, -1, seen.shape[2]), seen) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.predict(self.norm(x))


def position_table(frames: int, dim: int, kind: Positions) -> Float[Tensor, "frames dim"]:
    """Initial positions; see :class:`MaskedEncoder`."""
    if kind == "learned":
        return torch.randn(frames, dim) * 0.02
    half = dim if kind == "sincos1d" else dim // 2
    if half % 2:
        raise UserError(f"a width of {dim} cannot be split into sines and cosines of positions; choose a multiple of 4.")
    speed = 10000.0 ** -(torch.arange(half // 2, dtype=torch.float64) / (half / 2))
    angle = torch.arange(frames, dtype=torch.float64)[:, None] * speed
    wave = torch.cat([angle.sin(), angle.cos()], 1)
    if kind == "reference":  # the grid's other axis has the one coordinate 0
        constant = torch.zeros(frames, half, dtype=torch.float64)
        constant[:, half // 2 :] = 1.0
        wave = torch.cat([constant, wave], 1)
    return wave.float()


def init_weights(module: nn.Module) -> None:
    """For `Module.apply`: Linear xavier uniform, bias 0 (He et al. 2022, masked autoencoders)."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _check_heads(dim: int, heads: int) -> None:
    if dim % heads:
        raise UserError(f"a width of {dim} is no multiple of {heads} heads.")
