"""The table of stages: spellings, integer codes, coarser sets."""

from __future__ import annotations

import numpy as np
import pytest

from sigssl.data.stages import CONSOLIDATED, LABELS, STAGES, consolidate, parse_codes, parse_labels, to_int, to_tokens
from sigssl.errors import UserError


def test_every_spelling_of_the_field() -> None:
    spellings = {
        "W": ["W", "Wake", "Wake|0", "Sleep stage W", "Sleep stage Wake", "Stage W", "sleep  STAGE w"],
        "N1": ["N1", "NREM1", "S1", "Stage 1", "Stage1", "Stage N1", "Sleep stage 1", "Sleep stage N1", "Stage 1 sleep|1"],
        "N2": ["N2", "NREM2", "S2", "Stage 2", "Stage2", "Stage N2", "Sleep stage 2", "Sleep stage N2", "Stage 2 sleep|2"],
        "N3": ["N3", "S3", "Stage 3 sleep|3", "N4", "NREM4", "S4", "Stage 4", "Sleep stage 4", "Stage 4 sleep|4"],
        "R": ["R", "REM", "REM sleep", "REM sleep|5", "REM|5", "Stage R", "Sleep stage R", "Sleep stage REM"],
        "?": [
            "?",
            "Unknown",
            "Sleep stage ?",
            "Unscored",
            "Unscored|9",
            "missing",
            "Movement",
            "Movement|6",
            "Movement time",
            "MT",
        ],
    }
    for stage, labels in spellings.items():
        assert parse_labels(labels, "here") == [stage] * len(labels)
    assert set(LABELS.values()) == {*STAGES, "?"}


def test_integers_there_and_back() -> None:
    tokens = ["W", "N1", "N2", "N3", "R", "?"]
    assert to_int(tokens).tolist() == [0, 1, 2, 3, 4, -1]
    assert to_int([]).dtype == np.int64
    assert to_tokens(to_int(tokens)) == tokens
    with pytest.raises(UserError, match="'Wake' 2 times"):
        to_int(["Wake", "W", "Wake"])
    with pytest.raises(UserError, match="5 is no stage"):
        to_tokens([0, 5])


def test_unknown_labels_are_an_error_with_all_counts() -> None:
    with pytest.raises(UserError, match=r"here: unknown .*'wkae' 2 times, 'Stage 9' 1 times; beside them 'W' 3"):
        parse_labels(["W", "W", "wkae", "W", "wkae", "Stage 9"], "here")


def test_undivided_sleep_needs_a_coarser_set() -> None:
    with pytest.raises(UserError, match="was not divided"):
        parse_labels(["W", "Sleep stage N"], "here")
    with pytest.raises(UserError, match="was not divided"):
        parse_labels(["W", "NREM"], "here", classes=4)
    assert consolidate(parse_labels(["W", "NREM", "R"], "here", classes=3), 3) == ["W", "NREM", "R"]


def test_the_code_4_is_never_guessed() -> None:
    assert parse_codes(["0", "4", "5", "9"], "here") == ["W", "N3", "R", "?"]
    assert parse_codes(["0", "1", "2", "3", "5"], "here") == ["W", "N1", "N2", "N3", "R"]
    with pytest.raises(UserError, match="the code 4 2 times and no 5"):
        parse_codes(["0", "4", "4"], "here")
    assert parse_codes(["0", "4", "-1"], "here", "aasm") == ["W", "R", "?"]
    assert parse_codes(["0", "4"], "here", "rk") == ["W", "N3"]
    with pytest.raises(UserError, match="'8' 1 times"):
        parse_codes(["0", "8"], "here")


def test_coarser_sets() -> None:
    night = ["W", "N1", "N2", "N3", "R", "?"]
    assert consolidate(night, 4) == ["W", "light", "light", "N3", "R", "?"]
    assert consolidate(night, 3) == ["W", "NREM", "NREM", "NREM", "R", "?"]
    assert consolidate(night, 2) == ["W", "sleep", "sleep", "sleep", "sleep", "?"]
    assert all(set(table) == set(STAGES) for table in CONSOLIDATED.values())
