"""Scores against the oracle of the specification, and the fast bootstrap formulas against scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sk

from sigssl.data.stages import STAGES, to_tokens
from sigssl.downstream import sleep
from sigssl.downstream.sleep_scores import Staged, counts_by_subject, difference, kappa, of_counts, pooled, score
from sigssl.downstream.sleep_settings import HeadSettings, SleepSettings
from sigssl.downstream.sleep_split import SubjectFold
from sigssl.reports.sleep import confusion_counts


def sure(stages: np.ndarray) -> np.ndarray:
    return np.eye(5, dtype=np.float32)[stages] * 0.9 + 0.02


def random_nights(seed: int = 0, nights: int = 6) -> list[Staged]:
    rng = np.random.default_rng(seed)
    made = []
    for number in range(nights):
        truth = rng.integers(-1, 5, 60)
        said = np.where(rng.random(60) < 0.6, np.maximum(truth, 0), rng.integers(0, 5, 60))
        made.append(Staged(f"n{number}", f"s{number // 2}", truth, sure(said)))
    return made


def test_kappa_of_the_oracle() -> None:
    truth = np.repeat([0, 0, 1, 1], [20, 5, 10, 15])
    said = np.repeat([0, 1, 0, 1], [20, 5, 10, 15])
    assert kappa(truth, said) == pytest.approx(0.4)
    counts = np.zeros((5, 5))
    counts[:2, :2] = [[20, 5], [10, 15]]
    assert of_counts(counts)["kappa"] == pytest.approx(0.4)


def test_bootstrap_formulas_are_scikit_learns() -> None:
    nights = random_nights()
    truth = np.concatenate([n.stages[n.scored] for n in nights])
    said = np.concatenate([n.probabilities[n.scored].argmax(1) for n in nights])
    names, counts = counts_by_subject(nights)
    fast = of_counts(counts.sum(0).astype(float))
    assert names == ["s0", "s1", "s2"]
    assert fast["accuracy"] == pytest.approx(sk.accuracy_score(truth, said))
    assert fast["macro_f1"] == pytest.approx(sk.f1_score(truth, said, average="macro"))
    assert fast["kappa"] == pytest.approx(sk.cohen_kappa_score(truth, said))


def test_unscored_epochs_count_nowhere() -> None:
    nights = random_nights()
    changed = [
        Staged(n.id, n.subject, n.stages, np.where(n.scored[:, None], n.probabilities, sure(np.full(60, 3)))) for n in nights
    ]
    assert score(nights, 50) == score(changed, 50)
    assert score(nights, 50)["scored"] == sum(int(n.scored.sum()) for n in nights)


def test_intervals_hold_the_value_and_a_difference_to_oneself_is_zero() -> None:
    nights = random_nights()
    result = score(nights, 300)
    for name, interval in result["intervals"].items():
        assert interval["low"] <= result["pooled"][name] <= interval["high"]
    same = difference(counts_by_subject(nights), counts_by_subject(nights), 100, 0)
    assert all(value == {"mean": 0.0, "low": 0.0, "high": 0.0} for value in same.values())


def test_absent_stages_of_a_recording_are_named() -> None:
    stages = np.array([0, 0, 1, 1, 2, -1])
    night = score([Staged("a", "s", stages, sure(np.maximum(stages, 0)))], 10)
    assert night["nights"][0]["absent"] == ["N3", "R"] and night["nights"][0]["macro_f1"] == 1.0
    assert night["pooled"]["macro_f1"] == pytest.approx(3 / 5)  # pooled averages over all five


def test_label_order_is_one_everywhere() -> None:
    """Row and column i of the confusion, of the table and of the figure are STAGES[i]."""
    stages = np.array([0, 1, 2, 3, 4, 4])
    said = np.array([0, 1, 2, 3, 4, 1])
    night = Staged("a", "s", stages, sure(said))
    result = pooled(stages, night.probabilities)
    counts = np.array(result["confusion"])
    row, column = STAGES.index("R"), STAGES.index("N1")
    assert counts[row, column] == 1 and counts.sum() == 6
    np.testing.assert_array_equal(counts, confusion_counts([night]))
    assert list(result["stages"]) == list(STAGES) == ["W", "N1", "N2", "N3", "R"] and result["stages"]["R"]["support"] == 2
    assert list(to_tokens(stages)) == [*STAGES, "R"]


def test_one_stage_only() -> None:
    night = Staged("a", "s", np.zeros(10, dtype=np.int64), sure(np.zeros(10, dtype=int)))
    assert score([night], 10)["pooled"]["kappa"] == 0.0 and score([night], 10)["pooled"]["accuracy"] == 1.0


def test_intervals_are_those_of_all_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """An arm whose seeds differ: the interval holds their mean, the first seed's would not."""
    rng = np.random.default_rng(0)
    seeds = []
    for right in (0.4, 0.9):
        nights = []
        for number in range(8):
            truth = rng.integers(0, 5, 300)
            said = np.where(rng.random(300) < right, truth, (truth + 1) % 5)
            nights.append(Staged(f"n{number}", f"s{number}", truth, np.eye(5, dtype=np.float32)[said]))
        seeds.append(nights)
    monkeypatch.setattr(sleep, "_runs", lambda *_: [])
    fold = SubjectFold("1", ["a"], ["b"], [f"s{i}" for i in range(8)])
    row = sleep.summarise({"x": seeds}, [fold], [sleep.Arm("x", HeadSettings())], SleepSettings(seeds=2), Path())["arms"][0]
    first = row["by_seed"][0]
    assert row["intervals"]["accuracy"]["low"] < row["accuracy"] < row["intervals"]["accuracy"]["high"]
    assert first["intervals"]["accuracy"]["high"] < row["accuracy"]
    both = [scores["recordings"]["kappa"]["median"] for scores in row["by_seed"]]
    assert row["recordings"]["kappa"]["median"] == pytest.approx(np.mean(both))
