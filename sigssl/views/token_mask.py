"""Which tokens are kept of two views of each item: independent at random, or disjoint."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sigssl.errors import UserError


class Views(NamedTuple):
    """Two masked views of B items with F tokens each.

    `keep` are the numbers of the kept tokens, rising, [2, B, K]; `masked` is true on the others, [2, B, F].
    """

    keep: Int[Tensor, "views batch kept"]
    masked: Bool[Tensor, "views batch frames"]


class TokenMask:
    """Keep a random subset of the tokens, of the same size in every item, twice.

    Args:
        ratio: share of the tokens that is masked.
        disjoint: the second view keeps what the first one masked, as far as that goes (DMJD, Ma et al. 2022): of the tokens
            min(1, 2 ratio) are masked in one view at least and max(0, 2 ratio - 1) in both. Otherwise the views are independent.
        rounding: "round" to the nearest count; "floor" as NeuroNet's code computes it, `int(F * (1 - ratio))`, which loses a
            token where the product falls just below an integer (F 100, ratio 0.8 keeps 19).

    Raises:
        UserError: a ratio outside of (0, 1).
    """

    def __init__(self, ratio: float = 0.75, disjoint: bool = False, rounding: Literal["round", "floor"] = "round") -> None:
        if not 0.0 < ratio < 1.0:
            raise UserError(f"TokenMask: ratio is {ratio}; expected a share between 0 and 1.")
        self.ratio, self.disjoint = ratio, disjoint
        self.rounding: Literal["round", "floor"] = rounding

    def kept(self, frames: int) -> int:
        """How many of `frames` tokens are kept; UserError where that is none or all of them."""
        share = frames * (1 - self.ratio)
        kept = round(share) if self.rounding == "round" else int(share)
        if not 0 < kept < frames:
            raise UserError(f"TokenMask: of {frames} tokens a ratio of {self.ratio} keeps {kept}; expected 1 to {frames - 1}.")
        return kept

    def __call__(self, batch: int, frames: int, generator: torch.Generator) -> Views:
        """Draw two views of `batch` items on the generator's device."""
        kept = self.kept(frames)
        device = generator.device
        noise = torch.rand(2, batch, frames, generator=generator, device=device)
        first = _lowest(noise[0], kept)
        hidden = _masked(first, frames)
        second = _lowest(noise[1] - hidden.float(), kept) if self.disjoint else _lowest(noise[1], kept)
        return Views(torch.stack([first, second]), torch.stack([hidden, _masked(second, frames)]))


def _lowest(noise: Tensor, kept: int) -> Tensor:
    return noise.argsort(1)[:, :kept].sort(1).values


def _masked(keep: Tensor, frames: int) -> Tensor:
    masked = torch.ones(len(keep), frames, dtype=torch.bool, device=keep.device)
    return masked.scatter_(1, keep, False)
