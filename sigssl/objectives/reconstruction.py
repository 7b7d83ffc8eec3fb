"""Reconstruction losses over the labelled elements of padded frames."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

Frames = Float[Tensor, "batch time features"]
Label = Bool[Tensor, "batch time features"]
Mean = Literal["element", "utterance"]


def masked_l1(prediction: Frames, target: Frames, label: Label, mean: Mean = "element") -> Float[Tensor, ""]:
    """Mean absolute error over labelled elements (TERA, Liu et al. 2021, section III-C).

    Args:
        prediction: [B, T, F].
        target: [B, T, F]; unlabelled elements may hold anything, NaN included.
        label: true on the elements that count.
        mean: "element": one mean over the batch, so that long utterances weigh more (as published);
            "utterance": the mean of each utterance's own mean, over utterances that have a label.

    Returns:
        float32 scalar; 0 (with zero gradient) where nothing is labelled.
    """
    return _mean(_error(prediction, target, label).abs(), label, mean)


def masked_mse(prediction: Frames, target: Frames, label: Label, mean: Mean = "element") -> Float[Tensor, ""]:
    """Mean squared error over labelled elements; arguments as :func:`masked_l1`."""
    return _mean(_error(prediction, target, label).square(), label, mean)


def label_weight(label: Label, mean: Mean = "element") -> Float[Tensor, ""]:
    """How many elements (or utterances) the mean was taken over: the weight of this batch's loss in a larger mean."""
    return label.sum().float() if mean == "element" else label.flatten(1).any(1).sum().float()


def _error(prediction: Tensor, target: Tensor, label: Tensor) -> Tensor:
    # masked_fill rather than boolean indexing: no copy of data-dependent size, hence no wait for the device
    return (prediction.float() - target.float()).masked_fill(~label, 0.0)


def _mean(error: Tensor, label: Tensor, mean: Mean) -> Tensor:
    if mean == "element":
        return error.sum() / label.sum().clamp(min=1)
    each = error.sum((1, 2)) / label.sum((1, 2)).clamp(min=1)
    return each.sum() / label_weight(label, mean).clamp(min=1)
