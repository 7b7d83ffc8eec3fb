"""Scores of predictions with their uncertainty: accuracy, macro F1, confusion, and bootstrap intervals over speakers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch


class Interval(NamedTuple):
    """A value and its 95 % percentile interval."""

    value: float
    low: float
    high: float


def macro_f1(predicted: np.ndarray, truth: np.ndarray, classes: int) -> float:
    """Mean over the classes that occur of the F1 score.

    Args:
        predicted: class numbers [N], below `classes`.
        truth: class numbers [N]; items of an unknown class (negative) count in no class.
        classes: number of classes K.
    """
    from torchmetrics.functional.classification import multiclass_f1_score  # here, for it takes seconds

    known = truth >= 0
    scores = multiclass_f1_score(torch.as_tensor(predicted[known]), torch.as_tensor(truth[known]), classes, average="none")
    occurs = np.bincount(np.concatenate([truth[known], predicted[known]]), minlength=classes) > 0
    return float(scores.numpy()[occurs].mean())


def confusion(predicted: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """Counts [K, K], row = truth, column = prediction; items of an unknown class (negative) are left out."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    known = truth >= 0
    return multiclass_confusion_matrix(torch.as_tensor(predicted[known]), torch.as_tensor(truth[known]), classes).numpy()


def resamples(groups: int, count: int, seed: int = 0) -> np.ndarray:
    """Bootstrap draws [count, groups] of groups (speakers) with replacement: how often each group is in each resample."""
    return np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=count)


def bootstrap(correct: np.ndarray, total: np.ndarray, draws: np.ndarray) -> Interval:
    """Accuracy with its interval over speakers (Efron & Tibshirani 1993, chapter 13: percentiles of the resampled statistic).

    Args:
        correct: right predictions of each speaker [G] (a mean over seeds may make it fractional).
        total: predictions of each speaker [G].
        draws: from :func:`resamples` [R, G].

    Returns:
        Share of right predictions over all items of the drawn speakers.
    """
    return _interval(correct.sum() / total.sum(), (draws @ correct) / (draws @ total))


def bootstrap_difference(
    one: np.ndarray, one_total: np.ndarray, other: np.ndarray, other_total: np.ndarray, draws: np.ndarray
) -> Interval:
    """Accuracy of `one` minus that of `other`, paired: both are resampled with the same speakers.

    Args:
        one: right predictions of each speaker [G].
        one_total: all of its predictions of each speaker [G].
        other: right predictions of what it is compared with [G].
        other_total: all predictions of that [G]; frames of another length make it differ.
        draws: from :func:`resamples` [R, G].
    """
    sampled = (draws @ one) / (draws @ one_total) - (draws @ other) / (draws @ other_total)
    return _interval(one.sum() / one_total.sum() - other.sum() / other_total.sum(), sampled)


def by_group(values: np.ndarray, groups: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Sums of `values` [N] in each group, groups sorted by name."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    return names.tolist(), np.bincount(index, weights=values, minlength=len(names))


def _interval(value: float, sampled: np.ndarray) -> Interval:
    low, high = np.percentile(sampled, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))
