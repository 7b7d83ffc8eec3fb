"""Files and figure of a staged night, read back by those who will read them."""

from __future__ import annotations

import csv
import io
import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sigssl.data.io import write_json
from sigssl.data.stages import STAGES
from sigssl.downstream.night import StagedNight, Window, spectrogram
from sigssl.downstream.sleep_statistics import sleep_statistics
from sigssl.reports.night_figure import draw_night
from sigssl.reports.night_files import STATISTICS, events_tsv, hypnogram_csv, summary, write_annotations, write_files

GENERATOR = np.random.default_rng(1)


def make_night(
    epochs: int = 240, start: datetime | None = datetime(2001, 2, 3, 22, 30, 15), onset: float = 0.0, **more: object
) -> StagedNight:
    stages = np.repeat(GENERATOR.integers(0, 5, epochs // 8 + 1), 8)[:epochs]
    table = GENERATOR.dirichlet(np.ones(5), epochs) * 0.5
    table[np.arange(epochs), stages] += 0.5
    table = table.astype(np.float32)
    if epochs > 20:
        table[10:13] = np.nan
    return StagedNight("n01", "n01.edf", table, 30.0, Window(0, epochs, "the whole recording"), onset=onset, start=start, **more)  # type: ignore[arg-type]


def write_night(night: StagedNight, folder: Path, review_below: float) -> dict[str, Any]:
    """All files of a night; its statistics."""
    facts = summary(night, review_below, write_files(night, folder, review_below))
    write_json(folder / STATISTICS, facts)
    return facts


def test_hypnogram_csv_says_each_epoch() -> None:
    night = make_night()
    lines = list(csv.DictReader(io.StringIO(hypnogram_csv(night))))
    assert list(lines[0]) == ["onset", "duration", "stage", "confidence", "p_W", "p_N1", "p_N2", "p_N3", "p_R"]
    assert [line["stage"] for line in lines] == night.stages
    assert lines[10] == {"onset": "300", "duration": "30", "stage": "?", "confidence": ""} | {f"p_{s}": "" for s in STAGES}
    table = np.array([[float(line[f"p_{s}"]) for s in STAGES] for line in lines if line["confidence"]])
    assert np.allclose(table, night.probabilities[np.isfinite(night.confidence)], atol=1e-4)
    assert float(lines[1]["onset"]) == 30.0


@pytest.mark.parametrize(("start", "onset"), [(datetime(2001, 2, 3, 22, 30, 15), 0.0), (None, 7.5)])
def test_edf_annotations_open_beside_the_recording(tmp_path: Path, start: datetime | None, onset: float) -> None:
    edfio, mne = pytest.importorskip("edfio"), pytest.importorskip("mne")
    night = make_night(start=start, onset=onset)
    path = tmp_path / "n01-hypnogram.edf"
    write_annotations(night, path)
    read = edfio.read_edf(path)
    if start is not None:
        assert (read.startdate, read.starttime) == (start.date(), start.time())
    for notes in (
        [(a.onset, a.duration, a.text) for a in read.annotations],
        [(a["onset"], a["duration"], a["description"]) for a in mne.read_annotations(path)],
    ):
        stages = ["?"] * len(night.stages)
        for at, length, text in notes:
            first = round((at - onset) / 30)
            stages[first : first + round(length / 30)] = [text.removeprefix("Sleep stage ")] * round(length / 30)
        assert stages == night.stages


def test_bids_events_and_their_sidecar(tmp_path: Path) -> None:
    night = make_night()
    lines = [line.split("\t") for line in events_tsv(night).splitlines()]
    assert lines[0] == ["onset", "duration", "trial_type", "confidence"]
    assert [line[2] for line in lines[1:]] == night.stages and lines[11][3] == "n/a"
    write_night(night, tmp_path, 0.6)
    sidecar = json.loads((tmp_path / "n01_events.json").read_text())
    assert set(sidecar["trial_type"]["Levels"]) == {*STAGES, "?"}
    assert "no medical device" in sidecar["Notice"]


def test_statistics_json_is_strict_json_and_says_what_is_undefined(tmp_path: Path) -> None:
    table = np.tile(np.float32([0.96, 0.01, 0.01, 0.01, 0.01]), (6, 1))
    awake = StagedNight("w", "w.edf", table, 30.0, Window(0, 6, "the whole recording"), warnings=["short"], reference=["W"] * 6)
    write_night(awake, tmp_path, 0.6)
    found = json.loads((tmp_path / "statistics.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert found["statistics"]["SOL"] is None and "SOL" in found["undefined"]
    assert found["statistics"]["TIB"] == 3.0 and found["warnings"] == ["short"] and found["agreement"]["accuracy"] == 1.0
    assert "no medical device" in found["notice"]


def test_statistics_are_those_of_the_window(tmp_path: Path) -> None:
    from dataclasses import replace

    night = replace(make_night(), window=Window(40, 200, "lights off to lights on"))
    found = write_night(night, tmp_path, 0.6)
    expected = sleep_statistics(night.stages[40:200])
    assert found["statistics"]["TST"] == pytest.approx(expected["TST"]) and found["statistics"]["TIB"] == 80.0
    assert found["window"]["start_seconds"] == 1200.0
    review = (tmp_path / "review.tsv").read_text().splitlines()[1:]
    assert len(review) == found["review"]["epochs"] and sum("N1" in line.split("\t")[2] for line in review) == found["review"]["N1"]


@pytest.mark.parametrize("epochs", [1, 240])
@pytest.mark.parametrize("start", [None, datetime(2001, 2, 3, 22, 30, 15)])
def test_the_figure_draws_any_night(tmp_path: Path, epochs: int, start: datetime | None) -> None:
    signal = GENERATOR.normal(size=epochs * 3000).astype(np.float32)
    night = make_night(epochs, start, spectrogram=spectrogram(signal, 100.0, "C4-M1"), reference=["N2"] * epochs)
    draw_night(night, tmp_path / "night.png")
    assert (tmp_path / "night.png").read_bytes().startswith(b"\x89PNG")


def test_an_eight_hour_figure_takes_under_two_seconds(tmp_path: Path) -> None:
    night = make_night(
        960, reference=["N2"] * 960, spectrogram=spectrogram(GENERATOR.normal(size=2880000).astype(np.float32), 100.0, "C4")
    )
    begun = time.process_time()
    draw_night(night, tmp_path / "night.png")
    assert time.process_time() - begun < 2.0
