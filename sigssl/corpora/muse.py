"""Muse EEG of the NeuroTechX notebooks: N170, P300, SSVEP and cueing (github.com/NeuroTechX/eeg-notebooks_v0.1)."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np

from sigssl.corpora.base import About, find_root, token
from sigssl.corpora.edf import write_edf
from sigssl.corpora.event_tree import Event, Locked, write_events
from sigssl.corpora.psg_tree import Aside
from sigssl.data.datadir import DataDir
from sigssl.errors import UserError

ABOUT = About(
    what="EEG at four dry electrodes, 256 Hz, windows about stimuli: faces and houses, oddballs, flicker, cues",
    licence="BSD-3-Clause",
    size="215 recordings, 11 h, 0.4 GB",
    example="sigssl prepare muse --root eeg-notebooks_v0.1/data/visual data/muse --paradigms N170",
)
RATE = 256
CHANNELS = ["TP9", "AF7", "AF8", "TP10"]
CODES = {  # as the notebooks name them
    "N170": {1: "house", 2: "face"},
    "P300": {1: "non_target", 2: "target"},
    "SSVEP": {1: "30Hz", 2: "20Hz"},
    "cueing": {
        **{1: "left_cue", 2: "right_cue", 11: "invalid_target_left", 12: "invalid_target_right"},
        **{21: "valid_target_left", 22: "valid_target_right"},
    },
}
WINDOWS = {"N170": (-0.1, 0.8), "P300": (-0.1, 0.8), "SSVEP": (0.0, 3.0), "cueing": (-0.1, 1.0)}
PLACE = re.compile(r"(?P<person>subject\d+)[_/](?P<session>session\d+)(?:[_/](?P<take>[^/]+))?\.(?:npz|csv)$")


def prepare(root: Path | None, out: Path, paradigms: str = "found", start: float = 0.0, end: float = 0.0) -> dict[str, DataDir]:
    """Write one part per paradigm. Arrays and tables are written as EDF+ to `out/edf`, with the events as annotations.

    Args:
        root: the folder `data/visual` of the repository (`N170/subject1/session1/data_*.csv`), or one of
            `N170/subject1_session1_1.npz` (`eeg_code`, `uV_per_code`, `fs`, `channels`, `events`).
        out: folder to write to.
        paradigms: names joined by commas of N170, P300, SSVEP, cueing; `found` for all.
        start: of the window, seconds from the event; where start and end are 0, the paradigm's own (-0.1 to 0.8 s for N170, P300).
        end: of the window.

    Returns:
        Part -> data directory; ids are `subject1-session1_1-0000`.
    """
    wanted = list(CODES) if paradigms == "found" else [name.strip() for name in paradigms.split(",")]
    if unknown := [name for name in wanted if name not in CODES]:
        raise UserError(f"no paradigm {unknown[0]!r}; known are {', '.join(CODES)} and found.")
    place, _ = find_root(root, "eeg_muse", [*CODES, "."])
    made: dict[str, DataDir] = {}
    for name in wanted:
        files = [path for path in sorted((place / name).rglob("*")) if PLACE.search(path.relative_to(place).as_posix())]
        if not files and paradigms == "found":
            continue
        recordings, aside = [], []
        for path in files:
            try:
                recordings.append(converted(path, place, name, out.absolute() / "edf"))
            except UserError as error:
                aside.append(Aside(token(path.stem), path, " ".join(str(error).split())))
        window = (start, end) if (start, end) != (0.0, 0.0) else WINDOWS[name]
        made.update(write_events(out, {name: recordings}, *window, aside))
    if not made:
        raise UserError(f"{place}: no recordings such as N170/subject1_session1_1.npz or N170/subject1/session1/data_1.csv in it.")
    return made


def converted(path: Path, place: Path, paradigm: str, folder: Path) -> Locked:
    """A recording as EDF+, written unless it is there and newer.

    Raises:
        UserError: arrays or columns of another kind, or an event that the paradigm does not have.
    """
    found = PLACE.search(path.relative_to(place).as_posix())
    assert found is not None
    samples, marks = read_arrays(path) if path.suffix == ".npz" else read_table(path)
    codes = CODES[paradigm]
    if odd := sorted({code for _, code in marks} - set(codes)):
        raise UserError(f"{path}: events {odd}; {paradigm} has {', '.join(map(str, codes))}.")
    events = [Event(sample / RATE, 0.0, codes[code]) for sample, code in marks]
    name = "-".join(filter(None, [found["person"], "_".join(filter(None, [found["session"], token(found["take"] or "")]))]))
    target = folder / paradigm / f"{name}.edf"
    if not target.exists() or target.stat().st_mtime < path.stat().st_mtime:
        write_edf(target, CHANNELS, samples, float(RATE), [(event.onset, None, event.label) for event in events])
    return Locked(name, found["person"], target, samples.shape[1] / RATE, events)


def read_arrays(path: Path) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Microvolts [channels, samples] and (sample, code) of an excerpt's arrays."""
    with np.load(path) as arrays:
        if not {"eeg_code", "uV_per_code", "channels", "events", "fs"} <= set(arrays):
            raise UserError(f"{path}: holds {', '.join(arrays)}; expected eeg_code, uV_per_code, fs, channels and events.")
        if list(arrays["channels"]) != CHANNELS or float(arrays["fs"]) != RATE:
            raise UserError(f"{path}: {list(arrays['channels'])} at {float(arrays['fs']):g} Hz; expected {CHANNELS} at {RATE} Hz.")
        samples = arrays["eeg_code"].T.astype(np.float64) * float(arrays["uV_per_code"])
        return samples, [(int(sample), int(code)) for sample, code in arrays["events"]]


def read_table(path: Path) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Microvolts [channels, samples] and (sample, code) of the repository's CSV; a marker is where the last column is not 0."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    marker = next((name for name in (rows[0] if rows else {}) if name.lower().startswith(("marker", "stim"))), None)
    if marker is None or not set(CHANNELS) <= set(rows[0]):
        raise UserError(f"{path}: no columns {', '.join(CHANNELS)} and Marker.")
    try:
        samples = np.array([[float(row[name]) for row in rows] for name in CHANNELS])
        marks = [(n, round(float(row[marker] or 0))) for n, row in enumerate(rows)]
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: a row that is not numbers: {error}.") from None
    return samples, [(n, code) for n, code in marks if code]
