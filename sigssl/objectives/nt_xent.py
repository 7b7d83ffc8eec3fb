"""NT-Xent: each item is to find its other view among all others."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sigssl.objectives.pairs import Pairs, mean_over, pairs


def nt_xent(
    first: Float[Tensor, "items dim"],
    second: Float[Tensor, "items dim"],
    temperature: float = 0.05,
    *,
    valid: Bool[Tensor, " items"] | None = None,
    recording: Int[Tensor, " items"] | None = None,
    epoch: Int[Tensor, " items"] | None = None,
    exclude: int = 0,
) -> Float[Tensor, ""]:
    """Normalised temperature-scaled cross entropy (Chen et al. 2020, SimCLR, equation 1).

    L = 1/2N sum_i -log( exp(s(i, i')/t) / sum_{j != i} exp(s(i, j)/t) ), s the cosine, i' the other view of i.

    Args:
        first: vectors of one view [N, D].
        second: of the other view.
        temperature: t; NeuroNet has 0.05.
        valid: items that count.
        recording: see :func:`sigssl.objectives.pairs.pairs`, as the next two.
        epoch: place in the recording.
        exclude: neighbours at up to this distance are no negatives.

    Returns:
        float32 scalar, in nats: ln(2N - 1) where all vectors are equal, 0 for a single item. With several ranks it is the mean
        over this rank's rows, against all ranks' columns.
    """
    return of_pairs(pairs(first, second, temperature, valid=valid, recording=recording, epoch=epoch, exclude=exclude))


def of_pairs(compared: Pairs) -> Float[Tensor, ""]:
    """The loss from similarities that are there already."""
    logits = compared.logits.masked_fill(~compared.valid[:, None], 0.0)  # the positive of an invalid row is -inf: 0 x inf is NaN
    losses = torch.nn.functional.cross_entropy(logits, compared.positive, reduction="none")
    return mean_over(losses, compared.valid)
