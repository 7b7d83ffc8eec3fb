"""A staged night: windows, review list, spectrogram."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
from scipy.signal import welch

from sigssl.downstream.night import StagedNight, Window, around_sleep, errors, spectrogram


def rows(*stages: int, sure: float = 0.9) -> np.ndarray:
    table = np.full((len(stages), 5), (1 - sure) / 4, dtype=np.float32)
    for k, stage in enumerate(stages):
        table[k, stage] = sure if stage >= 0 else np.nan
    return np.where(np.array(stages)[:, None] < 0, np.float32("nan"), table)


def test_stages_confidence_and_times() -> None:
    night = StagedNight(
        "n", "n.edf", rows(0, 1, 2, -1, 4), 30.0, Window(0, 5, "all"), onset=15.0, start=datetime(2020, 1, 1, 23, 59, 30)
    )
    assert night.stages == ["W", "N1", "N2", "?", "R"]
    assert np.isnan(night.confidence[3]) and night.confidence[0] == pytest.approx(0.9)
    assert night.seconds.tolist() == [15, 45, 75, 105, 135]
    assert night.clock(45.0) == "00:00:15"
    assert StagedNight("n", "", rows(0), 30.0, Window(0, 1, "all")).clock(3725.0) == "1:02:05"


def test_what_is_for_review() -> None:
    table = rows(0, 1, 2, -1, 4)
    table[4] = [0.1, 0.05, 0.4, 0.0, 0.45]
    night = StagedNight("n", "n.edf", table, 30.0, Window(0, 5, "all"))
    listed = night.review(0.6)
    assert [(row["onset"], row["stage"], row["second"], row["reason"]) for row in listed] == [
        (30.0, "N1", "W", "N1"),
        (120.0, "R", "N2", "below 0.6"),
    ]


def test_the_window_around_sleep_ignores_unscored() -> None:
    stages = ["?"] * 10 + ["W"] * 100 + ["N2"] * 5 + ["W"] * 10
    assert (around_sleep(stages, 30.0).first, around_sleep(stages, 30.0).stop) == (50, 125)
    assert around_sleep(["W"] * 4, 30.0).stop == 4


def test_reference_is_compared_around_its_own_sleep_or_between_the_lights() -> None:
    table, reference = rows(*[0] * 200, *[2] * 20), ["W"] * 200 + ["N2"] * 20
    night = StagedNight("n", "", table, 30.0, Window(0, 220, "the whole recording"), reference=reference)
    pair = night.pair()
    assert pair is not None and len(pair.reference) == len(pair.result) == 80
    lights = StagedNight("n", "", table, 30.0, Window(150, 220, "lights off to lights on"), reference=reference).pair()
    assert lights is not None and len(lights.reference) == 70
    assert not errors(reference, night.stages).any()


def test_spectrogram_is_welch_in_decibels() -> None:
    signal = np.random.default_rng(0).normal(size=70 * 3000 + 500).astype(np.float32) * 20
    found = spectrogram(signal, 100.0, "C4-M1")
    frequencies, density = welch(signal[: 70 * 3000].reshape(70, 3000), 100.0, nperseg=400, detrend="constant")
    assert found.power.shape == (70, 120) and np.allclose(found.frequencies, frequencies[1:121])
    assert np.allclose(found.power, 10 * np.log10(density[:, 1:121]), atol=1e-3)
    assert np.isnan(spectrogram(np.zeros(6000, np.float32), 100.0, "flat").power).all()
