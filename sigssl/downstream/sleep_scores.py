"""Scores of staged nights: pooled over epochs and per recording, per stage, calibration, intervals over subjects.

Formulas are those of scikit-learn and torchmetrics; only the bootstrap, which needs thousands of them, works on confusion counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn import metrics as sk

from sigssl.data.stages import STAGES
from sigssl.downstream.metrics import resamples

CLASSES = tuple(range(len(STAGES)))
MAIN = ("accuracy", "macro_f1", "kappa")


@dataclass(frozen=True)
class Staged:
    """A night's stages (-1 unscored) and the probabilities [E, 5] that were given to them."""

    id: str
    subject: str
    stages: Int[np.ndarray, " epochs"]
    probabilities: Float[np.ndarray, "epochs classes"]

    @property
    def scored(self) -> np.ndarray:
        """Which epochs count."""
        return self.stages >= 0


def score(nights: Sequence[Staged], bootstrap: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Everything that sleep_tool's protocol asks for, as plain values.

    Args:
        nights: each subject may have several; unscored epochs count nowhere.
        bootstrap: resamples of the subjects for the 95 % intervals.
        seed: of the resamples.

    Returns:
        "pooled" (scores over all epochs, "stages" with precision, recall, F1 and support, "confusion" counts, row = truth),
        "recordings" (mean, sd, median over nights), "nights" (each), "intervals", "subjects", and counts.
    """
    truth = np.concatenate([night.stages[night.scored] for night in nights])
    probabilities = np.concatenate([night.probabilities[night.scored] for night in nights])
    each = [_recording(night) for night in nights]
    return {
        "nights_count": len(nights),
        "subjects_count": len({night.subject for night in nights}),
        "epochs": int(sum(len(night.stages) for night in nights)),
        "scored": len(truth),
        "pooled": pooled(truth, probabilities),
        "recordings": {name: _spread([row[name] for row in each]) for name in MAIN},
        "intervals": intervals(counts_by_subject(nights), bootstrap, seed),
        "nights": each,
    }


def pooled(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Scores over epochs; macro F1 averages over all five stages."""
    said = probabilities.argmax(1)
    precision, recall, f1, support = sk.precision_recall_fscore_support(truth, said, labels=CLASSES, zero_division=0.0)
    chosen = np.clip(probabilities[np.arange(len(truth)), truth], 1e-9, None)
    from torchmetrics.functional.classification import multiclass_calibration_error  # here, for it takes seconds

    ece = multiclass_calibration_error(torch.as_tensor(probabilities).float(), torch.as_tensor(truth), len(CLASSES), n_bins=15)
    return {
        "accuracy": float((said == truth).mean()),
        "balanced_accuracy": float(recall[support > 0].mean()),
        "macro_f1": float(f1.mean()),
        "weighted_f1": float(np.average(f1, weights=support)),
        "kappa": kappa(truth, said),
        "mcc": float(sk.matthews_corrcoef(truth, said)) if len(np.union1d(truth, said)) > 1 else 0.0,
        "log_loss": float(-np.log(chosen).mean()),
        "ece": float(ece),
        "stages": {
            stage: {"precision": float(precision[i]), "recall": float(recall[i]), "f1": float(f1[i]), "support": int(support[i])}
            for i, stage in enumerate(STAGES)
        },
        "confusion": sk.confusion_matrix(truth, said, labels=CLASSES).tolist(),
    }


def kappa(truth: np.ndarray, said: np.ndarray) -> float:
    """Cohen's kappa; 0 where both hold one and the same stage only, for which it is not defined."""
    return float(sk.cohen_kappa_score(truth, said, labels=CLASSES)) if len(np.union1d(truth, said)) > 1 else 0.0


def _recording(night: Staged) -> dict[str, Any]:
    """Scores of one night; its macro F1 averages over the stages that its reference has, the absent ones are named."""
    truth, said = night.stages[night.scored], night.probabilities[night.scored].argmax(1)
    present = [c for c in CLASSES if (truth == c).any()]
    f1 = sk.f1_score(truth, said, labels=present, average="macro", zero_division=0.0) if present else 0.0
    return {
        "id": night.id,
        "subject": night.subject,
        "scored": len(truth),
        "accuracy": float((said == truth).mean()) if len(truth) else 0.0,
        "macro_f1": float(f1),
        "kappa": kappa(truth, said) if len(truth) else 0.0,
        "absent": [STAGES[c] for c in CLASSES if c not in present],
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "mean": float(np.mean(values)),
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
        "median": float(np.median(values)),
    }


def counts_by_subject(nights: Sequence[Staged]) -> tuple[list[str], Int[np.ndarray, "subjects classes classes"]]:
    """Confusion counts of each subject, subjects sorted."""
    names = sorted({night.subject for night in nights})
    counts = np.zeros((len(names), len(CLASSES), len(CLASSES)), dtype=np.int64)
    for night in nights:
        truth, said = night.stages[night.scored], night.probabilities[night.scored].argmax(1)
        counts[names.index(night.subject)] += sk.confusion_matrix(truth, said, labels=CLASSES)
    return names, counts


def of_counts(counts: Float[np.ndarray, "*draws classes classes"]) -> dict[str, np.ndarray]:
    """Accuracy, macro F1 and kappa of confusion counts, for many at a time: arrays of shape [*draws]."""
    total = counts.sum((-1, -2))
    rows, columns = counts.sum(-1), counts.sum(-2)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    chance = (rows * columns).sum(-1) / total**2
    accuracy = hits.sum(-1) / total
    f1 = 2 * hits / np.maximum(rows + columns, 1e-12)
    agreed = (accuracy - chance) / np.maximum(1 - chance, 1e-12)
    return {"accuracy": np.asarray(accuracy), "macro_f1": np.asarray(f1.mean(-1)), "kappa": np.asarray(agreed)}


def intervals(by_subject: tuple[list[str], np.ndarray], bootstrap: int, seed: int) -> dict[str, dict[str, float]]:
    """Percentile intervals of the pooled scores, subjects resampled."""
    draws = resamples(len(by_subject[0]), bootstrap, seed)
    sampled = of_counts(np.tensordot(draws.astype(float), by_subject[1].astype(float), 1))
    return {name: _percentiles(values) for name, values in sampled.items()}


def difference(
    one: tuple[list[str], np.ndarray], other: tuple[list[str], np.ndarray], bootstrap: int, seed: int
) -> dict[str, dict[str, float]]:
    """`one` minus `other` with intervals, both resampled with the same subjects."""
    draws = resamples(len(one[0]), bootstrap, seed).astype(float)
    first, second = (of_counts(np.tensordot(draws, c[1].astype(float), 1)) for c in (one, other))
    whole = [of_counts(c[1].sum(0).astype(float)) for c in (one, other)]
    return {name: {"mean": float(whole[0][name] - whole[1][name]), **_percentiles(first[name] - second[name])} for name in MAIN}


def _percentiles(values: np.ndarray) -> dict[str, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return {"low": float(low), "high": float(high)}
