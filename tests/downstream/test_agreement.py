"""Agreement against scikit-learn, a kappa worked out by hand, and slow loops."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics

from sigssl.data.stages import STAGES
from sigssl.downstream.agreement import COMPARED, NightPair, agreement, bland_altman, count, scores
from sigssl.downstream.sleep_statistics import sleep_statistics

GENERATOR = np.random.default_rng(3)


def night(name: str, person: str, epochs: int = 120, right: float = 0.7) -> NightPair:
    truth = GENERATOR.choice([*STAGES, "?"], epochs, p=[0.25, 0.05, 0.35, 0.15, 0.15, 0.05])
    said = np.where(GENERATOR.random(epochs) < right, truth, GENERATOR.choice([*STAGES, "?"], epochs))
    return NightPair(name, person, truth.tolist(), said.tolist())


PAIRS = [night("a1", "a"), night("a2", "a", 90), night("b1", "b"), night("c1", "c", 60, 0.4)]


def test_kappa_worked_out_by_hand() -> None:
    assert float(scores(np.array([[20, 5], [10, 15]]))["kappa"]) == pytest.approx(0.4)


def test_scores_agree_with_scikit_learn() -> None:
    counts = sum(count(pair.reference, pair.result) for pair in PAIRS)
    kept = [(a, b) for pair in PAIRS for a, b in zip(pair.reference, pair.result, strict=True) if "?" not in (a, b)]
    truth, said = zip(*kept, strict=True)
    found = scores(counts)
    assert np.array_equal(counts, metrics.confusion_matrix(truth, said, labels=STAGES))
    each = metrics.precision_recall_fscore_support(truth, said, labels=STAGES)
    assert all(np.allclose(found[name], each[k]) for k, name in enumerate(("precision", "recall", "f1")))
    expected = {
        "accuracy": metrics.accuracy_score(truth, said),
        "kappa": metrics.cohen_kappa_score(truth, said),
        "mcc": metrics.matthews_corrcoef(truth, said),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, said),
        "macro_f1": metrics.f1_score(truth, said, average="macro", labels=STAGES),
        "weighted_f1": metrics.f1_score(truth, said, average="weighted", labels=STAGES),
    }
    assert {name: pytest.approx(value) for name, value in expected.items()} == {name: float(found[name]) for name in expected}


def test_a_night_without_a_stage_is_averaged_over_those_it_has() -> None:
    counts = count(["W", "N2", "N2", "R"], ["W", "N2", "N1", "R"])
    assert float(scores(counts, present_only=True)["macro_f1"]) == pytest.approx((1 + 2 / 3 + 1) / 3)
    assert float(scores(counts)["macro_f1"]) == pytest.approx((1 + 2 / 3 + 1) / 5)
    assert agreement([NightPair("n", "p", ["W", "N2"], ["W", "N2"])])["each"][0]["absent"] == ["N1", "N3", "R"]


def test_nothing_in_common_is_undefined_and_not_an_error() -> None:
    found = agreement([NightPair("n", "p", ["?", "?"], ["W", "N2"])])
    assert found["epochs"] == 0 and found["pooled"]["kappa"]["value"] is None
    json.dumps(found, allow_nan=False)
    assert scores(np.diag([5, 0, 0, 0, 0]))["kappa"] != scores(np.diag([5, 0, 0, 0, 0]))["kappa"]  # one class alone: NaN


def test_intervals_resample_persons_and_not_nights() -> None:
    found = agreement(PAIRS, bootstrap=300, seed=5)
    from sigssl.downstream.metrics import resamples

    by_person = [
        sum(count(p.reference, p.result) for p in PAIRS[:2]),
        *(count(pair.reference, pair.result) for pair in PAIRS[2:]),
    ]
    slow = []
    for draw in resamples(3, 300, 5):
        table = sum(times * table for times, table in zip(draw, by_person, strict=True))
        slow.append(float(scores(table)["kappa"]))
    low, high = np.percentile(slow, [2.5, 97.5])
    kappa = found["pooled"]["kappa"]
    assert (kappa["low"], kappa["high"]) == (pytest.approx(low), pytest.approx(high))
    assert kappa["low"] <= kappa["value"] <= kappa["high"]
    assert found["persons"] == 3 and found["nights"] == 4
    assert agreement(PAIRS[:2])["pooled"]["kappa"]["low"] is None  # one person: no interval


def test_bland_altman_from_the_formula() -> None:
    found = bland_altman(PAIRS)
    assert tuple(found) == COMPARED
    differences = [sleep_statistics(p.result)["TST"] - sleep_statistics(p.reference)["TST"] for p in PAIRS]
    bias, sd = np.mean(differences), np.std(differences, ddof=1)
    tst = found["TST"]
    assert (tst["bias"], tst["low"], tst["high"]) == (
        pytest.approx(bias),
        pytest.approx(bias - 1.96 * sd),
        pytest.approx(bias + 1.96 * sd),
    )
    assert bland_altman(PAIRS[:1])["TST"]["sd"] is None


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="overlap"):
        count(["W"], ["W", "W"])
