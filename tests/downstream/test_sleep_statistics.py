"""Sleep statistics: a night worked out by hand, YASA where the definitions are the same, and nights that lack something."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigssl.data.stages import STAGES
from sigssl.downstream.sleep_statistics import MEANING, UNITS, sleep_statistics, transitions

NIGHT = ["W", "W", "W", "N1", "N2", "N2", "N3", "N3", "W", "N2", "R", "R", "?", "R", "W", "W", "N2", "N2", "W", "W"]
SAME_AS_YASA = {"TIB": "TIB", "SPT": "SPT", "TST": "TST", "WASO_SPT": "WASO", "SE": "SE", "SME": "SME", "SFI": "SFI", "SOL": "SOL"}
SAME_AS_YASA |= {"SOL_5min": "SOL_5min", "REM_latency_record": "Lat_REM", "W_min": "WAKE", "R_min": "REM", "R_percent": "%REM"}
SAME_AS_YASA |= {f"{s}_min": s for s in ("N1", "N2", "N3")} | {f"{s}_percent": f"%{s}" for s in ("N1", "N2", "N3")}


def test_a_night_worked_out_by_hand() -> None:
    found = sleep_statistics(NIGHT, 30.0)
    expected = {"TIB": 10.0, "SOL": 1.5, "SPT": 7.5, "TST": 5.5, "WASO": 2.5, "WASO_SPT": 1.5, "SE": 55.0, "SME": 73.33}
    expected |= {"REM_latency": 3.5, "REM_latency_record": 5.0, "W_min": 4.0, "N1_min": 0.5, "N2_min": 2.5, "N3_min": 1.0}
    expected |= {
        "R_min": 1.5,
        "unscored_min": 0.5,
        "N1_percent": 9.09,
        "N2_percent": 45.45,
        "N3_percent": 18.18,
        "R_percent": 27.27,
    }
    expected |= {"awakenings": 3, "SFI": 32.73}
    assert {name: round(found[name], 2) for name in expected} == expected
    assert math.isnan(found["SOL_5min"])
    assert found["TIB"] - found["SOL"] - found["TST"] == 3.0 != found["WASO"]  # the unscored epoch is neither
    assert list(found) == list(UNITS) == list(MEANING)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([*STAGES, "?"]), min_size=1, max_size=80), st.sampled_from([15.0, 20.0, 30.0, 60.0]))
def test_equals_yasa_where_the_definitions_are_the_same(stages: list[str], epoch: float) -> None:
    yasa = pytest.importorskip("yasa")
    words = {"W": "WAKE", "R": "REM", "?": "UNS"}
    theirs = yasa.Hypnogram([words.get(s, s) for s in stages], freq=f"{epoch:g}s").sleep_statistics()
    ours = sleep_statistics(stages, epoch)
    for mine, name in SAME_AS_YASA.items():
        assert ours[mine] == pytest.approx(float(theirs[name]), abs=6e-5, nan_ok=True), mine


def test_fragmentation_is_per_hour_of_sleep_at_any_epoch_length() -> None:
    # YASA's own example: 2 awakenings in 20 minutes of sleep. Some of its versions divided once more and gave 1.5.
    stages = 10 * ["W"] + 40 * ["N2"] + 5 * ["W"] + 40 * ["N2"] + 9 * ["W"]
    assert sleep_statistics(stages, 15.0)["SFI"] == pytest.approx(6.0)
    doubled = [stage for stage in stages for _ in range(2)]
    assert sleep_statistics(doubled, 7.5)["SFI"] == pytest.approx(6.0)


@pytest.mark.parametrize("stages", [["W"] * 10, ["?"] * 10, ["W"], ["?"]])
def test_a_night_without_sleep_has_no_latencies(stages: list[str]) -> None:
    found = sleep_statistics(stages)
    assert found["TST"] == found["SPT"] == found["SE"] == found["awakenings"] == 0
    absent = ["SOL", "SOL_5min", "SME", "WASO", "WASO_SPT", "REM_latency", "REM_latency_record", "SFI", "N2_percent"]
    assert all(math.isnan(found[name]) for name in absent)


def test_nights_of_sleep_alone_and_of_one_epoch() -> None:
    found = sleep_statistics(["N2"] * 20)
    assert (found["SOL"], found["SE"], found["SME"], found["WASO"], found["SFI"], found["SOL_5min"]) == (0, 100, 100, 0, 0, 0)
    one = sleep_statistics(["R"], 20.0)
    assert one["TST"] == one["TIB"] == pytest.approx(1 / 3)
    assert one["REM_latency"] == one["REM_latency_record"] == 0
    assert math.isnan(sleep_statistics([])["SE"]) and sleep_statistics([])["TIB"] == 0


def test_unknown_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="'N4'"):
        sleep_statistics(["W", "N4"])


def test_transitions_skip_unscored_epochs() -> None:
    counts, shares = transitions(NIGHT)
    slow = np.zeros((5, 5), int)
    for a, b in itertools.pairwise(NIGHT):
        if "?" not in (a, b):
            slow[STAGES.index(a), STAGES.index(b)] += 1
    assert np.array_equal(counts, slow)
    assert np.allclose(shares.sum(1), 1)
    assert np.isnan(transitions(["W", "W"])[1][1]).all()
