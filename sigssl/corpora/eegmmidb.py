"""EEG Motor Movement/Imagery Database: 64 channels, 160 Hz, 109 people (Schalk et al. 2004; physionet.org/content/eegmmidb)."""

from __future__ import annotations

import re
from pathlib import Path

from sigssl.corpora.base import About, find_root
from sigssl.corpora.event_tree import Event, Locked, write_events
from sigssl.corpora.psg_tree import Aside
from sigssl.data.datadir import DataDir
from sigssl.data.psg import open_psg
from sigssl.errors import UserError

ABOUT = About(
    what="EEG of movements made and imagined, windows about the events T0, T1, T2; 64 channels at 160 Hz, 109 people",
    licence="ODC-By 1.0; cite Schalk et al. 2004 and Goldberger et al. 2000",
    size="1526 runs, 48 h, 3.4 GB",
    example="sigssl prepare eegmmidb --root eegmmidb data/eegmmidb --runs imagined --labels meaning",
)
NAME = re.compile(r"(?P<person>S\d{3})R(?P<run>\d\d)\.edf$", re.IGNORECASE)
FISTS, FEET = {"T0": "rest", "T1": "left_fist", "T2": "right_fist"}, {"T0": "rest", "T1": "both_fists", "T2": "both_feet"}
MEANING = {  # run -> what its annotations mean
    1: {"T0": "eyes_open"},
    2: {"T0": "eyes_closed"},
    **dict.fromkeys((3, 4, 7, 8, 11, 12), FISTS),
    **dict.fromkeys((5, 6, 9, 10, 13, 14), FEET),
}
RUNS = {
    "all": tuple(range(1, 15)),
    "baseline": (1, 2),
    "executed": (3, 5, 7, 9, 11, 13),
    "imagined": (4, 6, 8, 10, 12, 14),
    "fists": (3, 4, 7, 8, 11, 12),
    "tasks": tuple(range(3, 15)),
}


def prepare(
    root: Path | None,
    out: Path,
    runs: str = "tasks",
    labels: str = "annotation",
    start: float = 0.0,
    end: float = 4.0,
) -> dict[str, DataDir]:
    """Write the part `all`: a window about each event is an utterance, a subject a speaker.

    Args:
        root: folder with `S001/S001R03.edf`, at any depth.
        out: folder to write to.
        runs: all, baseline (1 and 2), executed, imagined, fists (left or right, both executed and imagined), tasks (3 to 14), or
            numbers joined by commas.
        labels: annotation (T0, T1, T2) or meaning (rest, left_fist, right_fist, both_fists, both_feet, eyes_open, eyes_closed).
        start: of the window, seconds from the event.
        end: of the window. An event that lasts for several windows (the minute of rest of runs 1 and 2) gives as many.

    Returns:
        Part -> data directory; ids are `S001R03-0000`. Runs at another rate than 160 Hz (S088, S092, S100 in part) are kept: the
        store of signals resamples.
    """
    if labels not in ("annotation", "meaning"):
        raise UserError(f"labels {labels!r}; expected annotation or meaning.")
    wanted = chosen(runs)
    place, _ = find_root(root, "eeg_eegmmidb", ["S001", "S001R01.edf", "."])
    files = {path: found for path in sorted(place.rglob("*")) if (found := NAME.match(path.name)) and int(found["run"]) in wanted}
    if not files:
        raise UserError(f"{place}: no files such as S001R03.edf of the runs {runs} below it. Check --root.")
    recordings, aside = [], []
    for path, found in files.items():
        try:
            recordings.append(read_run(path, found["person"].upper(), int(found["run"]), labels))
        except UserError as error:
            aside.append(Aside(path.stem, path, " ".join(str(error).split())))
    return write_events(out, {"all": recordings}, start, end, aside)


def chosen(runs: str) -> tuple[int, ...]:
    """The numbers of the runs that the option names (UserError where it names none)."""
    if runs in RUNS:
        return RUNS[runs]
    numbers = tuple(int(word) for word in runs.split(",") if word.strip().isdigit())
    if len(numbers) != len(runs.split(",")) or not set(numbers) <= set(MEANING):
        raise UserError(f"runs {runs!r}; expected {', '.join(RUNS)}, or numbers from 1 to 14 joined by commas.")
    return numbers


def read_run(path: Path, person: str, run: int, labels: str) -> Locked:
    """A run and its events (UserError: an annotation that the database does not have)."""
    psg = open_psg(path)
    unknown = {note.text for note in psg.annotations} - set(MEANING[run])
    if unknown:
        raise UserError(f"{path}: annotations {', '.join(sorted(unknown))}; run {run} has {', '.join(MEANING[run])}.")
    names = MEANING[run] if labels == "meaning" else {text: text for text in MEANING[run]}
    events = [Event(note.onset, note.duration, names[note.text]) for note in psg.annotations]
    return Locked(f"{person}R{run:02d}", person, path, psg.duration, events)
