"""Similarities of two views of a batch: what the losses that contrast items have in common."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from sigssl.errors import UserError
from sigssl.objectives.gather import gather


class Pairs(NamedTuple):
    """Similarities of this rank's n items in two views with the N items of all ranks in two views.

    Attributes:
        logits: cosine over temperature [2n, 2N]; -inf where two vectors are not contrasted (a vector with itself, an excluded
            neighbour, an invalid item). First view first.
        positive: column of each row's other view [2n].
        valid: rows that count [2n].
    """

    logits: Float[Tensor, "rows columns"]
    positive: Int[Tensor, " rows"]
    valid: Bool[Tensor, " rows"]

    def accuracy(self) -> Float[Tensor, ""]:
        """Share of the rows whose nearest vector is their own other view."""
        right = (self.logits.detach().argmax(1) == self.positive) & self.valid
        return right.sum() / self.valid.sum().clamp(min=1)


def pairs(
    first: Float[Tensor, "items dim"],
    second: Float[Tensor, "items dim"],
    temperature: float = 0.05,
    *,
    valid: Bool[Tensor, " items"] | None = None,
    recording: Int[Tensor, " items"] | None = None,
    epoch: Int[Tensor, " items"] | None = None,
    exclude: int = 0,
) -> Pairs:
    """Compare all vectors of two views, in float32 whatever the autocast, in O(N^2) memory (no [N, N, D]).

    With several ranks the vectors of all of them are the columns; gradients flow back to each.

    Args:
        first: vectors of one view [N, D], of any length (they are normalised).
        second: of the other view, in the same order.
        temperature: of the softmax.
        valid: items that count; the others are neither rows nor columns.
        recording: recording that each item is cut from, as a number that is the same on all ranks.
        epoch: its place there.
        exclude: items of one recording at a distance of 1 to `exclude` epochs are not contrasted (neighbours are alike).

    Raises:
        UserError: `exclude` without recording and epoch, or a temperature that is not positive.
    """
    if temperature <= 0:
        raise UserError(f"temperature is {temperature}; expected a positive number.")
    if exclude and (recording is None or epoch is None):
        raise UserError("neighbours can only be excluded where the batch says recording and epoch of its items (stored nights).")
    with torch.autocast(first.device.type, enabled=False):
        rows = F.normalize(torch.stack([first, second]).float(), dim=2)  # [2, n, D]
        joined, begin = gather(rows.transpose(0, 1))
        columns = joined.transpose(0, 1).flatten(0, 1)  # [2N, D]
        logits = rows.flatten(0, 1) @ columns.T / temperature
    items, total = len(first), len(joined)
    mine = torch.arange(items, device=logits.device) + begin
    itself = torch.cat([mine, mine + total])
    barred = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, itself[:, None], True)
    fine = torch.ones(items, dtype=torch.bool, device=logits.device) if valid is None else valid
    if valid is not None:
        barred = barred | ~gather(valid.to(torch.uint8))[0].bool().repeat(2)
    if exclude and recording is not None and epoch is not None:
        barred = barred | _neighbours(torch.stack([recording, epoch], 1), exclude)
    return Pairs(logits.masked_fill(barred, float("-inf")), torch.cat([mine + total, mine]), fine.repeat(2))


def _neighbours(places: Tensor, exclude: int) -> Tensor:
    """True where row and column are different epochs of one recording, at most `exclude` apart [2n, 2N]."""
    others, _ = gather(places)
    distance = (places[:, None, 1] - others[None, :, 1]).abs()
    near = (places[:, None, 0] == others[None, :, 0]) & (distance > 0) & (distance <= exclude)
    return near.repeat(2, 2)


def mean_over(losses: Float[Tensor, " rows"], valid: Bool[Tensor, " rows"]) -> Float[Tensor, ""]:
    """Mean over the valid rows; 0 where there are none."""
    return losses.masked_fill(~valid, 0.0).sum() / valid.sum().clamp(min=1)
