"""How far two scorings of the same nights agree: a result with a reference, or one scorer with another.

Everything follows from one table of counts per night (rows the reference, columns the result), so that pooled scores, scores by
night and bootstrap intervals over persons are the same function of different sums. Epochs that either leaves unscored are out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sigssl.data.stages import STAGES, to_int
from sigssl.downstream.metrics import resamples
from sigssl.downstream.sleep_statistics import UNITS, sleep_statistics

OVERALL = ("accuracy", "kappa", "macro_f1", "balanced_accuracy", "weighted_f1", "mcc")
BY_STAGE = ("precision", "recall", "f1")
COMPARED = ("TST", "SE", "SOL", "WASO", "REM_latency", "N1_min", "N2_min", "N3_min", "R_min", "W_min", "awakenings", "SFI")


@dataclass(frozen=True)
class NightPair:
    """Two scorings of one night, over the same window.

    Attributes:
        night: its name.
        person: whose it is; nights of one person are resampled together.
        reference: tokens of the reference or first scorer, one per epoch.
        result: tokens of the other, as many.
        epoch: seconds.
    """

    night: str
    person: str
    reference: Sequence[str]
    result: Sequence[str]
    epoch: float = 30.0


def count(reference: Sequence[str], result: Sequence[str]) -> np.ndarray:
    """Counts [5, 5] of epochs, rows the reference's W, N1, N2, N3, R, columns the result's; `?` in either is left out.

    Raises:
        ValueError: they are not of one length.
    """
    if len(reference) != len(result):
        raise ValueError(f"{len(reference)} reference epochs and {len(result)} of the result; cut both to their overlap first.")
    rows, columns = to_int(reference), to_int(result)
    both = (rows >= 0) & (columns >= 0)
    return np.bincount(5 * rows[both] + columns[both], minlength=25).reshape(5, 5)


def scores(counts: np.ndarray, *, present_only: bool = False) -> dict[str, np.ndarray]:
    """Scores of tables of counts.

    Args:
        counts: [..., K, K], rows the reference.
        present_only: macro F1 over the classes that the reference has (for one night), not over all K.

    Returns:
        accuracy, kappa, macro_f1, balanced_accuracy (over the reference's classes), weighted_f1, mcc: [...]; precision, recall,
        f1: [..., K]. Cohen's kappa is (p_o - p_e) / (1 - p_e), p_e the sum over classes of row times column sums by n squared;
        Matthews' coefficient is the multiclass one (Gorodkin 2004). What 0 / 0 leaves undefined is NaN, but a class's precision
        or F1 that was never right is 0 where the class occurs.
    """
    counts = np.asarray(counts, dtype=np.float64)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    rows, columns, n = counts.sum(-1), counts.sum(-2), counts.sum((-2, -1))
    observed, chance = _ratio(right.sum(-1), n), _ratio((rows * columns).sum(-1), n**2)
    recall, f1 = _ratio(right, rows), _ratio(2 * right, rows + columns)
    precision = np.where((columns == 0) & (rows > 0), 0.0, _ratio(right, columns))
    present = rows > 0
    classes = present.sum(-1)
    macro = (
        _ratio(np.where(present, f1, 0).sum(-1), classes) if present_only else np.where(n > 0, np.nan_to_num(f1).mean(-1), np.nan)
    )
    spread = np.sqrt((n**2 - (rows**2).sum(-1)) * (n**2 - (columns**2).sum(-1)))
    return {
        "accuracy": observed,
        "kappa": _ratio(observed - chance, 1 - chance),
        "macro_f1": macro,
        "balanced_accuracy": _ratio(np.where(present, recall, 0).sum(-1), classes),
        "weighted_f1": _ratio((np.nan_to_num(f1) * rows).sum(-1), n),
        "mcc": _ratio(right.sum(-1) * n - (rows * columns).sum(-1), spread),
        "precision": precision,
        "recall": recall,
        "f1": f1,
    }


def agreement(pairs: Sequence[NightPair], *, bootstrap: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Agreement over nights, as plain values for JSON (an undefined number is None).

    Args:
        pairs: the nights.
        bootstrap: resamples of persons for the 95 % percentile intervals; none are given for a single person.
        seed: of the resampling.

    Returns:
        nights, persons, epochs; `pooled` scores over all epochs as {value, low, high}, with `stages`; `by_night` mean, sd and
        median of each score; `confusion` counts; `statistics` (see :func:`bland_altman`); and `each` night's own scores.
    """
    counts = np.stack([count(pair.reference, pair.result) for pair in pairs])
    people, index = np.unique([pair.person for pair in pairs], return_inverse=True)
    by_person = np.zeros((len(people), 5, 5))
    np.add.at(by_person, index, counts)
    draws = resamples(len(people), bootstrap, seed) if len(people) > 1 else np.ones((0, 1))
    sampled = scores(np.einsum("rg,gij->rij", draws, by_person))
    pooled, own = scores(counts.sum(0)), scores(counts, present_only=True)
    stages = {
        stage: {name: _interval(pooled[name][k], sampled[name][:, k]) for name in BY_STAGE}
        | {"epochs": int(counts[:, k].sum()), "epochs_result": int(counts[:, :, k].sum())}
        for k, stage in enumerate(STAGES)
    }
    return {
        "nights": len(pairs),
        "persons": len(people),
        "epochs": int(counts.sum()),
        "bootstrap": {"resamples": len(draws), "over": "persons", "interval": 0.95, "seed": seed},
        "pooled": {name: _interval(pooled[name], sampled[name]) for name in OVERALL} | {"stages": stages},
        "by_night": {name: _spread(own[name]) for name in OVERALL},
        "stages": list(STAGES),
        "confusion": counts.sum(0).tolist(),
        "statistics": bland_altman(pairs),
        "each": [_one_night(pair, counts[i], {name: value[i] for name, value in own.items()}) for i, pair in enumerate(pairs)],
    }


def bland_altman(pairs: Sequence[NightPair]) -> dict[str, dict[str, Any]]:
    """Difference (result minus reference) of each sleep statistic over nights (Bland & Altman 1986).

    Args:
        pairs: the nights; statistics are taken over the same epochs of both.

    Returns:
        For each of :data:`COMPARED`: unit, n (nights in which both are defined), bias, sd, limits of agreement `low` and `high`
        (bias -+ 1.96 sd), the 95 % interval of the bias (Student's t), and the nights' `reference` and `result` values.
    """
    from scipy.stats import t

    tables = [(sleep_statistics(pair.reference, pair.epoch), sleep_statistics(pair.result, pair.epoch)) for pair in pairs]
    found: dict[str, dict[str, Any]] = {}
    for name in COMPARED:
        values = np.array([(one[name], other[name]) for one, other in tables])
        values = values[np.isfinite(values).all(1)]
        n = len(values)
        difference = values[:, 1] - values[:, 0]
        bias = float(difference.mean()) if n else None
        sd = float(difference.std(ddof=1)) if n > 1 else None
        entry: dict[str, Any] = {"unit": UNITS[name], "n": n, "bias": bias, "sd": sd}
        if bias is not None and sd is not None:
            half = float(t.ppf(0.975, n - 1)) * sd / np.sqrt(n)
            entry |= {"low": bias - 1.96 * sd, "high": bias + 1.96 * sd, "bias_low": bias - half, "bias_high": bias + half}
        found[name] = entry | {"reference": values[:, 0].tolist(), "result": values[:, 1].tolist()}
    return found


def plain(value: Any) -> float | None:
    """A number for JSON: None where it is not finite."""
    return float(value) if np.isfinite(value) else None


def _one_night(pair: NightPair, counts: np.ndarray, own: dict[str, Any]) -> dict[str, Any]:
    return {
        "night": pair.night,
        "person": pair.person,
        "epochs": int(counts.sum()),
        "left_out": len(pair.reference) - int(counts.sum()),
        **{name: plain(own[name]) for name in OVERALL},
        "f1": {stage: plain(own["f1"][k]) for k, stage in enumerate(STAGES)},
        "absent": [stage for k, stage in enumerate(STAGES) if not counts[k].sum()],
    }


def _ratio(above: Any, below: Any) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.asarray(below) > 0, np.asarray(above, dtype=np.float64) / below, np.nan)


def _interval(value: Any, sampled: np.ndarray) -> dict[str, float | None]:
    known = sampled[np.isfinite(sampled)]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
    return {"value": plain(value), "low": plain(low), "high": plain(high)}


def _spread(values: np.ndarray) -> dict[str, float | None]:
    known = values[np.isfinite(values)]
    if not len(known):
        return {"mean": None, "sd": None, "median": None}
    sd = float(known.std(ddof=1)) if len(known) > 1 else None
    return {"mean": float(known.mean()), "sd": sd, "median": float(np.median(known))}
