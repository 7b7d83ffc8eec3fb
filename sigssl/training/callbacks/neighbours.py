"""Nearest neighbours: whether epochs of validation people lie among training epochs of the same stage. It chooses nothing."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from sigssl.data.nights import EpochDataset

NEIGHBOURS = 10
MOST = 2000  # epochs of either side that are looked at
BATCH = 64


def measure(encoder: nn.Module, train: EpochDataset, valid: EpochDataset) -> dict[str, float]:
    """Stages of validation epochs by vote of their nearest training epochs (cosine of standardised vectors).

    The epochs are evenly spaced labelled ones, so that nothing is drawn and a run goes on bit for bit.

    Returns:
        "knn_accuracy", "knn_macro_f1" and "knn_kappa"; nothing where either side has fewer than ten labelled epochs.
    """
    from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score
    from sklearn.neighbors import KNeighborsClassifier

    chosen = [_spaced(data) for data in (train, valid)]
    if min(map(len, chosen)) < NEIGHBOURS:
        return {}
    x, y = (_vectors(encoder, data, items) for data, items in zip((train, valid), chosen, strict=True))
    mean, deviation = x.mean(0), x.std(0) + 1e-6
    x, y = ((part - mean) / deviation for part in (x, y))
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return {}
    model = KNeighborsClassifier(NEIGHBOURS, metric="cosine", algorithm="brute").fit(x, train.labels[chosen[0]])
    said, true = model.predict(y), valid.labels[chosen[1]]
    found = {
        "knn_accuracy": accuracy_score(true, said),
        "knn_macro_f1": f1_score(true, said, average="macro", zero_division=0),
        "knn_kappa": cohen_kappa_score(true, said) if len({*true, *said}) > 1 else 0.0,
    }
    return {name: float(value) for name, value in found.items()}


def _spaced(data: EpochDataset) -> np.ndarray:
    labelled = np.flatnonzero(data.labels >= 0)
    if len(labelled) <= MOST:
        return labelled
    return labelled[np.linspace(0, len(labelled) - 1, MOST).astype(np.int64)]


@torch.no_grad()
def _vectors(encoder: nn.Module, data: EpochDataset, items: np.ndarray) -> np.ndarray:
    device = next(encoder.parameters()).device
    training = encoder.training
    encoder.eval()
    try:
        parts = [
            encoder(data.epochs(items[begin : begin + BATCH].tolist()).to(device)).float().cpu()
            for begin in range(0, len(items), BATCH)
        ]
    finally:
        encoder.train(training)
    vectors: np.ndarray = torch.cat(parts).numpy()
    return vectors
