"""What is written for a staged night: hypnogram.csv, BIDS events, an EDF+ annotation file, statistics.json, review.tsv."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from sigssl import __version__
from sigssl.data.io import whole, write_json, write_text
from sigssl.data.stages import STAGES, UNSCORED
from sigssl.downstream.agreement import agreement
from sigssl.downstream.night import CAVEATS, NOTICE, StagedNight, unscored
from sigssl.downstream.sleep_statistics import MEANING, UNITS, sleep_statistics, transitions
from sigssl.optional import require

STATISTICS = "statistics.json"
CSV_HEADER = ("onset", "duration", "stage", "confidence", *(f"p_{stage}" for stage in STAGES))
LEVELS = {"W": "wake", "N1": "NREM stage 1", "N2": "NREM stage 2", "N3": "NREM stage 3", "R": "REM", UNSCORED: "not scored"}


def events_name(night: str) -> str:
    """Name of a night's BIDS events file."""
    return f"{night}_events.tsv"


def annotations_name(night: str) -> str:
    """Name of a night's EDF+ annotation file."""
    return f"{night}-hypnogram.edf"


def write_files(night: StagedNight, folder: Path, review_below: float) -> list[dict[str, Any]]:
    """Write a night's tables and annotations.

    Args:
        night: the night.
        folder: its own folder.
        review_below: confidence below which an epoch is listed for review.

    Returns:
        The epochs for review.
    """
    write_text(folder / "hypnogram.csv", hypnogram_csv(night))
    write_text(folder / events_name(night.name), events_tsv(night))
    write_json((folder / events_name(night.name)).with_suffix(".json"), events_sidecar(night))
    write_annotations(night, folder / annotations_name(night.name))
    listed = night.review(review_below)
    write_text(folder / "review.tsv", review_tsv(listed))
    return listed


def hypnogram_csv(night: StagedNight) -> str:
    """One line per epoch; onset in seconds from the start of the recording; what was not staged has no probabilities."""
    lines = [",".join(CSV_HEADER)]
    for onset, stage, row in zip(night.seconds.tolist(), night.stages, night.probabilities.tolist(), strict=True):
        numbers = [f"{value:.4f}" for value in (max(row), *row)] if stage != UNSCORED else [""] * (1 + len(STAGES))
        lines.append(",".join([f"{onset:g}" if onset < 1e5 else f"{onset:.2f}", f"{night.epoch:g}", stage, *numbers]))
    return "\n".join(lines) + "\n"


def events_tsv(night: StagedNight) -> str:
    """BIDS events: onset, duration, trial_type (the stage), confidence; `n/a` where there is none."""
    lines = ["onset\tduration\ttrial_type\tconfidence"]
    for onset, stage, value in zip(night.seconds.tolist(), night.stages, night.confidence.tolist(), strict=True):
        lines.append(f"{onset:.10g}\t{night.epoch:g}\t{stage}\t{'n/a' if math.isnan(value) else format(value, '.4f')}")
    return "\n".join(lines) + "\n"


def events_sidecar(night: StagedNight) -> dict[str, Any]:
    """The JSON that BIDS wants beside the events."""
    return {
        "onset": {"Description": "start of the epoch from the start of the recording", "Units": "s"},
        "duration": {"Description": "length of the epoch", "Units": "s"},
        "trial_type": {"LongName": "sleep stage", "Description": "most probable AASM stage", "Levels": LEVELS},
        "confidence": {"Description": "calibrated probability of that stage", "Units": "probability, 0 to 1"},
        "GeneratedBy": {"Name": "sigssl", "Version": __version__, "Model": night.model.get("name", "")},
        "Notice": NOTICE,
    }


def write_annotations(night: StagedNight, path: Path) -> None:
    """The hypnogram as an EDF+ file of annotations alone, one for each run of a stage, which viewers open beside the recording.

    It starts when the recording starts, so that onsets mean the same in both.

    Raises:
        MissingExtraError: edfio is not installed.
    """
    edfio = require("edfio", "to write EDF+ annotations")
    notes = [edfio.EdfAnnotation(onset, length, f"Sleep stage {stage}") for onset, length, stage in _bouts(night)]
    when: dict[str, Any] = {}
    if night.start is not None:
        when = {
            "starttime": night.start.time(),
            "recording": edfio.Recording(startdate=night.start.date(), equipment_code="sigssl"),
        }
    made = edfio.Edf([], annotations=notes, **when)
    with whole(path) as temporary:
        made.write(temporary)


def _bouts(night: StagedNight) -> list[tuple[float, float, str]]:
    stages = np.array(night.stages)
    edges = np.flatnonzero(stages[1:] != stages[:-1]) + 1
    starts, stops = [0, *edges.tolist()], [*edges.tolist(), len(stages)]
    return [
        (night.onset + a * night.epoch, (b - a) * night.epoch, str(stages[a])) for a, b in zip(starts, stops, strict=True) if b > a
    ]


def review_tsv(listed: list[dict[str, Any]]) -> str:
    """The epochs for review, as a table."""
    lines = ["onset\ttime\tstage\tconfidence\tsecond\treason"]
    lines += [
        f"{row['onset']:.10g}\t{row['time']}\t{row['stage']}\t{row['confidence']:.4f}\t{row['second']}\t{row['reason']}"
        for row in listed
    ]
    return "\n".join(lines) + "\n"


def summary(night: StagedNight, review_below: float, listed: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything that is known of a night, as plain values; a statistic that the night does not define is null."""
    values, window = night.statistics(), night.window
    scored = sleep_statistics(night.reference[window.first : window.stop], night.epoch) if night.reference else {}
    counts, shares = transitions(night.stages[window.first : window.stop])
    known = night.confidence[np.isfinite(night.confidence)]
    pair = night.pair()
    end = night.start + timedelta(seconds=float(night.onset + night.epoch * len(night.stages))) if night.start else None
    return {
        "night": night.name,
        "recording": night.path,
        "start": night.start.isoformat() if night.start else None,
        "end": end.isoformat() if end else None,
        "epoch_seconds": night.epoch,
        "epochs": len(night.stages),
        "unscored": unscored(night.stages),
        "model": night.model,
        "settings": night.settings,
        "channels": night.channels,
        "window": {
            "rule": window.rule,
            "first_epoch": window.first,
            "epochs": window.stop - window.first,
            "start_seconds": float(night.onset + night.epoch * window.first),
            "end_seconds": float(night.onset + night.epoch * window.stop),
        },
        "statistics": {name: None if math.isnan(value) else round(value, 4) for name, value in values.items()},
        "reference_statistics": {name: None if math.isnan(value) else round(value, 4) for name, value in scored.items()} or None,
        "undefined": [name for name, value in values.items() if math.isnan(value)],
        "units": UNITS,
        "meaning": MEANING,
        "transitions": {"stages": list(STAGES), "counts": counts.tolist(), "shares": json_table(shares)},
        "confidence": {"mean": _rounded(known.mean()), "median": _rounded(np.median(known))} if len(known) else None,
        "review": {"below": review_below, "epochs": len(listed), "N1": sum(row["stage"] == "N1" for row in listed)},
        "reference": night.reference_path or None,
        "agreement": agreement([pair], bootstrap=0)["each"][0] if pair else None,
        "warnings": night.warnings,
        "hypnogram": night.stages,
        "sigssl": __version__,
        "notice": NOTICE,
        "caveats": CAVEATS,
    }


def json_table(table: np.ndarray) -> list[list[float | None]]:
    """Rows of a table for JSON, None where it is not finite."""
    return [[_rounded(value) for value in row] for row in table]


def _rounded(value: Any) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
