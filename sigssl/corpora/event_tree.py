"""What the event-locked EEG corpora share: windows about events as utterances of a recording, each with its event as label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sigssl.corpora.base import QUARANTINE
from sigssl.corpora.psg_tree import Aside
from sigssl.data.datadir import DataDir, Segment
from sigssl.data.io import write_json, write_text
from sigssl.errors import UserError

SUMMARY = "events.json"


class Event(NamedTuple):
    """Something that happened: onset and duration in seconds, and what it was."""

    onset: float
    duration: float
    label: str


class Locked(NamedTuple):
    """A recording with events: its id begins with the person's."""

    id: str
    person: str
    path: Path
    seconds: float
    events: Sequence[Event]


def windows(recording: Locked, start: float, end: float) -> list[tuple[float, float, str]]:
    """A window from `start` to `end` seconds about each event that it fits; an event that lasts is cut into as many as it holds.

    Args:
        recording: with its events.
        start: of the window, from the event's onset; may be negative.
        end: of the window, likewise.
    """
    length, found = end - start, []
    for onset, duration, label in recording.events:
        for n in range(max(1, int((duration - start) / length + 1e-6)) if start >= 0 else 1):
            first = onset + start + n * length
            if first >= 0 and first + length <= recording.seconds + 1e-6:
                found.append((round(first, 6), round(first + length, 6), label))
    return found


def write_events(
    out: Path,
    parts: Mapping[str, Iterable[Locked]],
    start: float,
    end: float,
    aside: Sequence[Aside] = (),
) -> dict[str, DataDir]:
    """Write each part as the data directory `out/<part>`: `segments` and `utt2label` by event, recordings in `wav.scp`.

    Args:
        out: folder to write to.
        parts: name -> recordings.
        start: of the windows, in seconds from the events.
        end: likewise.
        aside: files that are not used, and why.

    Raises:
        UserError: a window without length, or a part without events that it fits.
    """
    if not end - start > 0:
        raise UserError(f"window from {start:g} to {end:g} s: expected the end after the start.")
    made = {}
    for name, recordings in parts.items():
        directory, lost = DataDir(path=out / name, segments={}), 0
        for one in recordings:
            found = windows(one, start, end)
            lost += sum(1 for event in one.events if not fits(one, event, start, end))
            for n, (first, last, label) in enumerate(found):
                key = f"{one.id}-{n:04d}"
                directory.wav[one.id] = str(one.path.absolute())
                directory.segments[key] = Segment(one.id, first, last)  # type: ignore[index]
                directory.utt2spk[key], directory.utt2label[key] = one.person, label
                directory.utt2dur[key] = round(last - first, 6)
        if not directory.segments:
            raise UserError(f"{out / name}: no events whose window from {start:g} to {end:g} s lies within its recording.")
        directory.write()
        quarantine = directory.path / QUARANTINE
        quarantine.unlink(missing_ok=True)
        if aside:
            write_text(quarantine, "".join(f"{one.id}\t{one.path}\t{one.reason}\n" for one in aside))
        counts = dict(sorted(Counter(directory.utt2label.values()).items()))
        summary = {"window": [start, end], "recordings": len(directory.wav), "events": counts, "outside_the_recording": lost}
        write_json(directory.path / SUMMARY, {**summary, "persons": len(set(directory.utt2spk.values())), "set_aside": len(aside)})
        made[name] = directory
    return made


def fits(recording: Locked, event: Event, start: float, end: float) -> bool:
    """Whether the first window about an event lies within the recording."""
    return event.onset + start >= 0 and event.onset + end <= recording.seconds + 1e-6
