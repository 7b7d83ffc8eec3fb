"""Decoupled contrastive loss: NT-Xent without the positive pair in the denominator, which suits small batches."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sigssl.errors import UserError
from sigssl.objectives.pairs import Pairs, mean_over, pairs


def dcl(
    first: Float[Tensor, "items dim"],
    second: Float[Tensor, "items dim"],
    temperature: float = 0.1,
    *,
    valid: Bool[Tensor, " items"] | None = None,
    recording: Int[Tensor, " items"] | None = None,
    epoch: Int[Tensor, " items"] | None = None,
    exclude: int = 0,
) -> Float[Tensor, ""]:
    """Decoupled contrastive loss in both directions (Yeh et al. 2022, equation 6).

    L = 1/2N sum_i ( -s(i, i')/t + log sum_{j not in {i, i'}} exp(s(i, j)/t) ).

    Args:
        first: vectors of one view [N, D].
        second: of the other view.
        temperature: t.
        valid: items that count.
        recording: see :func:`sigssl.objectives.pairs.pairs`, as the next two.
        epoch: place in the recording.
        exclude: neighbours at up to this distance are no negatives; a row that is left without any does not count.

    Returns:
        float32 scalar: ln(2N - 2) where all vectors are equal; never above NT-Xent. May be negative.

    Raises:
        UserError: fewer than two items, for which it is not defined.
    """
    return of_pairs(pairs(first, second, temperature, valid=valid, recording=recording, epoch=epoch, exclude=exclude))


def of_pairs(compared: Pairs) -> Float[Tensor, ""]:
    """The loss from similarities that are there already."""
    if compared.logits.shape[1] < 4:
        raise UserError("DCL needs two items at least (it has no negatives otherwise); enlarge the batch, or use NT-Xent.")
    positive = compared.logits.gather(1, compared.positive[:, None])[:, 0]
    negatives = compared.logits.scatter(1, compared.positive[:, None], float("-inf"))
    some = compared.valid & torch.isfinite(negatives.detach()).any(1)
    # a row without negatives gets one of its own, so that no gradient of -inf arises; it does not count
    spread = torch.logsumexp(negatives.masked_fill(~some[:, None], 0.0), 1)
    return mean_over(spread - positive.masked_fill(~some, 0.0), some)
