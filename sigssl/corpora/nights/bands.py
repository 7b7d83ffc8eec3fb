"""How strong each band of each channel is in each stage, how persons and nights differ in it, and how it wanders within a night.

The values are the natural logarithms of band powers of a signal that was scaled to unit variance over the night: what the person's
amplitude is, is not in them. A night's values are drawn as

    stage mean + person + night + (night in this stage) + first-order autoregression within the night,

all Gaussian; `fit` makes the means and covariances from the features of real nights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sigssl.errors import UserError

CHANNELS = ("Fpz-Cz", "Pz-Oz", "EOG")
BANDS = {"delta": (0.5, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 12.0), "sigma": (12.0, 16.0), "beta": (16.0, 30.0)}
STAGES = 5
FEWEST = 10  # epochs of a stage, for a night to have a mean of it
SPREAD = 1.2  # what the epochs' deviations are drawn wider by: blending at borders and cutting the extremes narrow them
EXTREME = 3.0  # standard deviations at which an epoch's deviation is cut: artefacts are added as such


def fit(nights: Sequence[np.ndarray], labels: Sequence[np.ndarray], persons: Sequence[str]) -> dict[str, Any]:
    """The statistics of band powers.

    Args:
        nights: [epochs, channels x bands] log band powers, channel by channel, of each night.
        labels: stage per epoch (0 W, 1 N1, 2 N2, 3 N3, 4 R; negative: unscored) of each night.
        persons: whose night it is.

    Returns:
        `mean` [stage, value], `persistence` [stage] (correlation of an epoch with the next), and the lower triangles of the
        covariances `person`, `night`, `stage` [stage, ...] and `epoch` [stage, ...]; plain lists, ready for JSON.

    Raises:
        UserError: a stage that no night holds ten epochs of.
    """
    mean, deviation = np.zeros((STAGES, nights[0].shape[1])), np.full((len(nights), STAGES, nights[0].shape[1]), np.nan)
    for stage in range(STAGES):
        held = [n for n, label in enumerate(labels) if (label == stage).sum() >= FEWEST]
        if not held:
            raise UserError(f"no night holds {FEWEST} epochs of stage {stage}; the statistics need every stage.")
        means = np.stack([nights[n][labels[n] == stage].mean(0) for n in held])
        mean[stage] = means.mean(0)
        deviation[held, stage] = means - mean[stage]
    common = np.nanmean(deviation, axis=1)
    person = _between_nights(common, persons)
    epochs, persistence = zip(*(_within(nights, labels, stage) for stage in range(STAGES)), strict=True)
    rest = deviation - common[:, None]
    return {
        "nights": len(nights),
        "persons": len(set(persons)),
        "mean": np.round(mean, 3).tolist(),
        "persistence": np.round(persistence, 3).tolist(),
        "person": _triangle(person),
        "night": _triangle(np.cov(common.T) - person),
        "stage": [_triangle(np.cov(rest[~np.isnan(rest[:, s, 0]), s].T)) for s in range(STAGES)],
        "epoch": [_triangle(covariance) for covariance in epochs],
    }


def _between_nights(common: np.ndarray, persons: Sequence[str]) -> np.ndarray:
    """What the nights of a person share: the covariance of one with the other; half of all where no person has two."""
    pairs = [(a, b) for a in range(len(persons)) for b in range(a + 1, len(persons)) if persons[a] == persons[b]]
    if not pairs:
        return np.asarray(np.cov(common.T) / 2)
    centred = common - common.mean(0)
    product = np.mean([np.outer(centred[a], centred[b]) for a, b in pairs], axis=0)
    return np.asarray((product + product.T) / 2)


def _within(nights: Sequence[np.ndarray], labels: Sequence[np.ndarray], stage: int) -> tuple[np.ndarray, float]:
    """Covariance of the deviations from a night's mean of the stage, and their correlation with the next epoch's."""
    found, now, after = [], [], []
    for values, label in zip(nights, labels, strict=True):
        here = label == stage
        if here.sum() < FEWEST:
            continue
        rest = values - np.median(values[here], axis=0)
        spread = 1.4826 * np.median(np.abs(rest[here]), axis=0)
        rest = np.clip(rest, -EXTREME * spread, EXTREME * spread)
        rest = rest - rest[here].mean(0)
        found.append(rest[here])
        both = here[:-1] & here[1:]
        now.append(rest[:-1][both])
        after.append(rest[1:][both])
    rest, one, two = np.concatenate(found), np.concatenate(now), np.concatenate(after)
    return np.cov(rest.T), float(np.mean((one * two).sum(0) / (one**2).sum(0)))


def _triangle(covariance: np.ndarray) -> list[float]:
    """The lower triangle of a symmetric matrix, row by row."""
    return np.round(covariance[np.tril_indices(len(covariance))], 4).tolist()


def root(triangle: Sequence[float]) -> np.ndarray:
    """A matrix R with R R' = the covariance of a lower triangle; negative parts, which estimates may have, are left out."""
    size = int((np.sqrt(8 * len(triangle) + 1) - 1) / 2)
    covariance = np.zeros((size, size))
    covariance[np.tril_indices(size)] = triangle
    covariance = covariance + np.tril(covariance, -1).T
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def draw_person(statistics: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    """What a person's nights share, [value]."""
    return root(statistics["person"]) @ rng.standard_normal(len(statistics["mean"][0]))


def draw_night(statistics: dict[str, Any], person: np.ndarray, stages: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The log band powers of a night's epochs.

    Args:
        statistics: as `fit` gives them.
        person: from `draw_person`.
        stages: 0 to 4 per epoch.
        rng: source of every draw.

    Returns:
        [epochs, values].
    """
    mean = np.asarray(statistics["mean"])
    size = mean.shape[1]
    night = person + root(statistics["night"]) @ rng.standard_normal(size)
    by_stage = mean + night + np.stack([root(t) @ rng.standard_normal(size) for t in statistics["stage"]])
    fresh = rng.standard_normal((len(stages), size))
    wander, state = np.empty_like(fresh), rng.standard_normal(size)
    for n, stage in enumerate(stages):
        keep = statistics["persistence"][stage]
        state = keep * state + np.sqrt(1 - keep**2) * fresh[n]
        wander[n] = state
    roots = np.stack([root(t) for t in statistics["epoch"]])
    return np.asarray(by_stage[stages] + SPREAD * np.einsum("eij,ej->ei", roots[stages], wander))
