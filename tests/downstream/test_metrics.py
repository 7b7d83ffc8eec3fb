"""Scores against scikit-learn, intervals against a slow loop."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score

from sigssl.downstream.metrics import bootstrap, bootstrap_difference, by_group, confusion, macro_f1, resamples

GENERATOR = np.random.default_rng(0)
TRUTH, PREDICTED = GENERATOR.integers(0, 4, 200), GENERATOR.integers(0, 4, 200)


def test_macro_f1_and_confusion_agree_with_scikit_learn() -> None:
    assert macro_f1(PREDICTED, TRUTH, 4) == pytest.approx(f1_score(TRUTH, PREDICTED, average="macro"), abs=1e-6)
    assert np.array_equal(confusion(PREDICTED, TRUTH, 4), confusion_matrix(TRUTH, PREDICTED))


def test_classes_that_never_occur_do_not_lower_f1() -> None:
    assert macro_f1(np.array([0, 1, 1]), np.array([0, 1, 1]), 5) == 1.0


def test_unknown_classes_count_in_no_class() -> None:
    assert confusion(np.array([0, 1, 1]), np.array([0, 1, -1]), 2).sum() == 2


def test_bootstrap_equals_a_slow_loop() -> None:
    right, other, total = np.array([9.0, 4.0, 7.5, 1.0]), np.array([8.0, 5.0, 7.0, 2.0]), np.array([10.0, 10.0, 8.0, 4.0])
    draws = resamples(4, 500, seed=3)
    assert draws.shape == (500, 4) and (draws.sum(1) == 4).all()
    shares, differences = [], []
    for draw in draws:
        drawn = [speaker for speaker, times in enumerate(draw) for _ in range(times)]
        shares.append(sum(right[s] for s in drawn) / sum(total[s] for s in drawn))
        differences.append(shares[-1] - sum(other[s] for s in drawn) / sum(total[s] for s in drawn))
    one = bootstrap(right, total, draws)
    assert one == pytest.approx((21.5 / 32, *np.percentile(shares, [2.5, 97.5])))
    both = bootstrap_difference(right, total, other, total, draws)
    assert both == pytest.approx((-0.5 / 32, *np.percentile(differences, [2.5, 97.5])))


def test_a_constant_gain_has_an_interval_of_no_width() -> None:
    right, total = np.array([3.0, 6.0, 9.0]), np.array([10.0, 10.0, 10.0])
    gain = bootstrap_difference(right + 1, total, right, total, resamples(3, 200))
    assert gain == pytest.approx((0.1, 0.1, 0.1))


def test_by_group_sums() -> None:
    names, sums = by_group(np.array([1.0, 2.0, 3.0]), ["b", "a", "b"])
    assert names == ["a", "b"] and sums.tolist() == [2.0, 4.0]
