"""Choosing and fitting on examples whose answer is known."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from sigssl.downstream.fit import Choice, Examples, fit, layers_tried, predict, scale_of, select
from sigssl.downstream.settings import ProbeSettings

QUICK = ProbeSettings(lrs=[1e-1, 1e-2, 1e-6], epochs=15, batch_size=32, seeds=1, ks=[1, 5])


def examples(layers: int = 3, told: int = 1, items: int = 480, classes: int = 4, gap: float = 5.0, seed: int = 0) -> Examples:
    """Items of which only layer `told` tells the class."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, classes, items)
    x = generator.normal(size=(items, layers, 6)).astype(np.float32) * 3 + 100
    x[np.arange(items), told, y] += 3 * gap
    spans = np.stack([np.arange(items), np.arange(items) + 1], axis=1)
    return Examples(x, y, spans, classes)


TRAIN, DEV, TEST = np.split(np.arange(480), [300, 400])


@pytest.mark.parametrize("head", ["linear", "hidden", "logistic", "knn"])
@pytest.mark.parametrize("layers", ["weighted", "best", 1])
def test_separable_classes_are_all_found(head: str, layers: str | int) -> None:
    data = examples(gap=12.0)
    settings = dataclasses.replace(QUICK, layers=layers, lrs=[3e-2, 1e-2])
    choice = select(data, [(TRAIN, DEV)], head, settings)
    fitted = fit(data, TRAIN, choice, head, settings, seed=0)
    assert (predict(fitted, data.x, TEST) == data.y[TEST]).mean() == 1.0
    if layers != "weighted" or head in ("knn", "logistic"):
        assert choice.layer == 1
    elif fitted.layer_weights is not None:
        assert fitted.layer_weights.argmax() == 1


@pytest.mark.parametrize("head", ["linear", "knn"])
def test_shuffled_classes_stay_at_chance(head: str) -> None:
    data = examples(items=2400)
    shuffled = dataclasses.replace(data, y=np.random.default_rng(1).permutation(data.y))
    train, dev, test = np.split(np.arange(2400), [800, 1600])
    choice = select(shuffled, [(train, dev)], head, QUICK)
    predicted = predict(fit(shuffled, train, choice, head, QUICK, seed=0), data.x, test)
    assert abs((predicted == shuffled.y[test]).mean() - 0.25) < 0.06  # 4 standard deviations of a fair coin with 4 sides


def test_a_hopeless_learning_rate_is_not_chosen_and_early_stopping_bounds_epochs() -> None:
    choice = select(examples(), [(TRAIN, DEV), (DEV, TRAIN)], "linear", dataclasses.replace(QUICK, epochs=200, patience=3))
    assert choice.lr in (1e-1, 1e-2) and 1 <= choice.epochs < 200


def test_a_diverging_learning_rate_harms_no_other() -> None:
    settings = dataclasses.replace(QUICK, lrs=[1e38, 1e-2])
    choice = select(examples(), [(TRAIN, DEV)], "linear", settings)
    assert choice.lr == 1e-2 and choice.accuracy > 0.9


def test_logistic_is_scikit_learns_and_chooses_the_better_penalty() -> None:
    generator = np.random.default_rng(0)
    y = np.arange(260) % 3
    x = generator.normal(size=(260, 1, 40)).astype(np.float32) * 2 + 3
    x[:, 0, :12] += 1.2 * (y[:, None] - 1)
    data = Examples(x, y, np.stack([np.arange(260), np.arange(260) + 1], 1), 3)
    train, dev = np.arange(60), np.arange(60, 260)
    settings = dataclasses.replace(QUICK, l2=[1e-4, 3e-1, 100.0])
    choice = select(data, [(train, dev)], "logistic", settings)
    mean, std = x[train, 0].mean(0), x[train, 0].std(0)
    accuracies = []
    for l2 in settings.l2:
        other = LogisticRegression(C=1 / (l2 * len(train)), tol=1e-6, max_iter=1000).fit((x[train, 0] - mean) / std, y[train])
        fitted = fit(data, train, Choice(0, l2=l2), "logistic", settings, seed=0)
        answers = other.predict((x[dev, 0] - mean) / std)
        assert (predict(fitted, x, dev) == answers).mean() >= 0.99
        accuracies.append((answers == y[dev]).mean())
    assert choice.l2 == settings.l2[int(np.argmax(accuracies))] and choice.accuracy == pytest.approx(max(accuracies), abs=0.01)


def test_standardisation_is_exact_at_a_large_offset_and_survives_constants() -> None:
    data = examples()
    data.x[:, :, 5] = 7.0
    data.x[:, 0, 0] += 1e4
    scale = scale_of(data.x, TRAIN, None)
    x = data.x[TRAIN].astype(np.float64)
    np.testing.assert_allclose(scale.mean, x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(scale.std[:, :5], x.std(0)[:, :5], rtol=1e-4)
    assert torch.isfinite(scale(torch.from_numpy(data.x))).all() and (scale.std[:, 5] == 1).all()


def test_a_memory_map_gives_what_an_array_gives(tmp_path: Path) -> None:
    data = examples()
    half = data.x.astype(np.float16)
    half.tofile(tmp_path / "x")
    mapped = np.memmap(tmp_path / "x", dtype=np.float16, mode="r", shape=half.shape)
    out = [
        predict(fit(one, TRAIN, select(one, [(TRAIN, DEV)], "linear", QUICK), "linear", QUICK, 0), one.x, TEST)
        for one in (dataclasses.replace(data, x=half.astype(np.float32)), dataclasses.replace(data, x=mapped))
    ]
    assert np.array_equal(*out)


def test_items_of_many_rows_and_rows_without_label() -> None:
    data = Examples(np.zeros((6, 1, 1), np.float32), np.array([0, -2, 1, 1, -2, 0]), np.array([[3, 6], [0, 3]]), 2)
    assert data.rows(np.array([0])).tolist() == [3, 5] and data.rows(np.array([1, 0])).tolist() == [0, 2, 3, 5]


def test_layers_tried() -> None:
    assert layers_tried(4, "weighted", "linear") == [None] and layers_tried(4, "weighted", "knn") == [0, 1, 2, 3]
    assert layers_tried(4, "best", "linear") == [0, 1, 2, 3] and layers_tried(4, 2, "linear") == [2]
    assert layers_tried(4, "joined", "knn") == layers_tried(1, "joined", "linear") == [None]
    assert layers_tried(1, "weighted", "linear") == [0] and layers_tried(1, 3, "linear") == [0]
