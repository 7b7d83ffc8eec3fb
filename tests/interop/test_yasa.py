"""Hypnograms to YASA and back."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from sigssl.downstream.night import StagedNight, Window
from sigssl.downstream.sleep_statistics import sleep_statistics
from sigssl.errors import UserError
from sigssl.interop.yasa import from_yasa, night_to_yasa, to_yasa

yasa = pytest.importorskip("yasa")
STAGES = ["W", "N1", "N2", "N3", "R", "?", "N2", "W"]


@pytest.mark.parametrize("epoch", [4.0, 20.0, 30.0])
def test_stages_survive_the_way_there_and_back(epoch: float) -> None:
    back, seconds, table = from_yasa(to_yasa(STAGES, epoch))
    assert back == STAGES and seconds == pytest.approx(epoch) and table is None


def test_a_night_keeps_its_probabilities_and_its_clock() -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(5), 40).astype(np.float32)
    rows[7] = np.nan
    night = StagedNight("n", "n.edf", rows, 30.0, Window(0, 40, "all"), onset=60.0, start=datetime(2020, 1, 1, 22, 0))
    made = night_to_yasa(night)
    stages, _, table = from_yasa(made)
    assert stages == night.stages and stages[7] == "?"
    known = np.arange(40) != 7
    assert table is not None and np.allclose(table[known], rows[known], atol=1e-6)
    assert str(made.hypno.index[0]) == "2020-01-01 22:01:00"
    assert made.sleep_statistics()["TST"] == pytest.approx(sleep_statistics(stages)["TST"])


def test_artefacts_are_unscored_and_fewer_stages_are_refused() -> None:
    assert from_yasa(yasa.Hypnogram(["W", "ART", "N2"]))[0] == ["W", "?", "N2"]
    with pytest.raises(UserError, match="expected 5"):
        from_yasa(yasa.Hypnogram(["W", "S"], n_stages=2))
    with pytest.raises(UserError, match="N4"):
        to_yasa(["N4"])
