"""Hypnograms to and from YASA's `Hypnogram` objects (Vallat & Walker 2021), probabilities included."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np

from sigssl.data.stages import STAGES, UNSCORED, to_int
from sigssl.downstream.night import StagedNight
from sigssl.errors import UserError
from sigssl.optional import require

NAMES = {"W": "WAKE", "N1": "N1", "N2": "N2", "N3": "N3", "R": "REM", UNSCORED: "UNS"}
TOKENS = {name: token for token, name in NAMES.items()} | {"ART": UNSCORED}  # an artefact has no stage


def to_yasa(
    stages: Sequence[str],
    epoch: float = 30.0,
    start: datetime | None = None,
    probabilities: np.ndarray | None = None,
    scorer: str | None = None,
) -> Any:
    """A `yasa.Hypnogram` of five stages.

    Args:
        stages: tokens, one per epoch.
        epoch: seconds.
        start: of the first epoch.
        probabilities: of W, N1, N2, N3, R [epochs, 5]; YASA wants rows that sum to 1, so that an unscored epoch (NaN) is said to
            be anything with equal probability.
        scorer: a name for it.

    Raises:
        UserError: something that is no stage.
        MissingExtraError: YASA is not installed.
    """
    to_int(stages)
    yasa = require("yasa", "for Hypnogram objects")
    table = None
    if probabilities is not None:
        pandas = require("pandas", "for YASA's probabilities")
        known = np.isfinite(probabilities).all(1, keepdims=True)
        rows = np.where(known, probabilities, 1 / len(STAGES)).astype(np.float64)
        table = pandas.DataFrame(rows / rows.sum(1, keepdims=True), columns=[NAMES[stage] for stage in STAGES])
    names = [NAMES[stage] for stage in stages]
    return yasa.Hypnogram(names, n_stages=5, freq=f"{round(epoch * 1e6)}us", start=start, scorer=scorer, proba=table)


def night_to_yasa(night: StagedNight) -> Any:
    """A staged night as `yasa.Hypnogram`, with its probabilities and, where the recording says it, its time of day."""
    from datetime import timedelta

    start = None if night.start is None else night.start + timedelta(seconds=night.onset)
    return to_yasa(night.stages, night.epoch, start, night.probabilities, scorer="sigssl")


def from_yasa(hypnogram: Any) -> tuple[list[str], float, np.ndarray | None]:
    """Stages, epoch length in seconds, and probabilities [epochs, 5] (None where it has none) of a `yasa.Hypnogram`.

    Raises:
        UserError: a hypnogram of fewer than five stages, whose epochs cannot be told apart.
    """
    if hypnogram.n_stages != len(STAGES):
        raise UserError(f"the YASA hypnogram has {hypnogram.n_stages} stages; expected 5 (WAKE, N1, N2, N3, REM).")
    stages = [TOKENS[str(name)] for name in hypnogram.hypno]
    table = hypnogram.proba
    if table is not None:
        table = table.reindex(columns=[NAMES[stage] for stage in STAGES], fill_value=0.0).to_numpy(dtype=np.float32)
    return stages, 1.0 / float(hypnogram.sampling_frequency), table
