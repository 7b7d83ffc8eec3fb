"""Times in tables: the lines of `segments` and `utt2dur`."""

from __future__ import annotations

from typing import NamedTuple


class Segment(NamedTuple):
    """Where an utterance lies in its recording, in seconds; `end` -1 means to the end."""

    recording: str
    start: float
    end: float


def parse_segment(value: str) -> Segment:
    """Parse `recording start end [channel]`.

    Raises:
        ValueError: another number of fields, no numbers, or an end before the start.
    """
    parts = value.split()
    if len(parts) not in (3, 4):
        raise ValueError("expected 'UTTERANCE RECORDING START END'")
    segment = Segment(parts[0], parse_seconds(parts[1]), -1.0 if parts[2] in ("-1", "-1.0", "-1.00") else parse_seconds(parts[2]))
    if segment.end != -1 and segment.end <= segment.start:
        raise ValueError(f"the segment ends ({parts[2]} s) before it begins ({parts[1]} s); expected START < END, or END -1")
    return segment


def parse_seconds(value: str) -> float:
    """Parse a time in seconds.

    Raises:
        ValueError: no finite number of at least 0.
    """
    try:
        seconds = float(value)
    except ValueError:
        raise ValueError(f"{value!r} is no number of seconds") from None
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{value!r} is no time: expected seconds of 0 or more")
    return seconds


def format_seconds(seconds: float) -> str:
    """Seconds to the microsecond, without trailing zeros: `3.12`."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def format_segment(segment: Segment) -> str:
    """The value of a line of `segments`."""
    return f"{segment.recording} {format_seconds(segment.start)} {format_seconds(segment.end)}"
