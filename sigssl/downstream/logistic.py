"""Logistic regression on the features of an epoch and its neighbours: the plain baseline of temporal context."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression

from sigssl.data.feature_nights import Night
from sigssl.data.stages import STAGES


def with_neighbours(features: Float[np.ndarray, "epochs features"], reach: int) -> Float[np.ndarray, "epochs wide"]:
    """Features of the epochs -reach ... +reach side by side; the night's first and last epochs are repeated beyond its ends."""
    epochs = len(features)
    rows = np.clip(np.arange(epochs)[:, None] + np.arange(-reach, reach + 1), 0, epochs - 1)
    return features[rows].reshape(epochs, -1)


def logistic_probabilities(train: Sequence[Night], test: Sequence[Night], reach: int = 5) -> list[np.ndarray]:
    """Train on standardised features with an L2 penalty of 1 (scikit-learn's default) and stage the test nights.

    Returns:
        Probabilities [E, 5] of every test night.
    """
    x = np.concatenate([with_neighbours(n.features, reach)[n.stages >= 0] for n in train])
    y = np.concatenate([n.stages[n.stages >= 0] for n in train])
    mean, std = x.mean(0), np.maximum(x.std(0), 1e-6)
    model = LogisticRegression(C=1.0, max_iter=60, tol=1e-2).fit((x - mean) / std, y)
    out = []
    for night in test:
        said = model.predict_proba((with_neighbours(night.features, reach) - mean) / std)
        full = np.zeros((len(said), len(STAGES)), dtype=np.float32)
        full[:, model.classes_] = said
        out.append(full)
    return out
