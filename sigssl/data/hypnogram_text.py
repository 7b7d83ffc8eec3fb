"""Stages from text: a label or code per line, tables with onsets, U-Sleep's `.ids`, ISRUC's and DREAMS's files."""

from __future__ import annotations

import csv
import re
from collections import Counter
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from sigssl.data.edf_annotations import Annotation
from sigssl.data.hypnogram import Bout, Hypnogram, from_bouts
from sigssl.data.hypnogram_edf import from_events
from sigssl.data.stages import Codes, parse_codes, parse_labels
from sigssl.errors import UserError

ISRUC = re.compile(r"\d+_(?P<scorer>[12])\.txt")
DREAMS_STEP = 5.0  # seconds
DREAMS = {"5": "W", "4": "R", "3": "N1", "2": "N2", "1": "N3", "0": "N3", "-1": "?", "-2": "?", "-3": "?"}
HEADS = {  # column -> the names that it goes by
    "onset": {"onset", "start", "init", "begin", "onset (s)", "start (s)", "time"},
    "duration": {"duration", "length", "duration (s)"},
    "label": {"trial_type", "label", "stage", "annotation", "description", "stages", "sleep_stage", "sleep stage", "hypnogram"},
}
CLOCK = re.compile(r"(?:(\d{4}-\d\d-\d\d)[T ])?(\d{1,2}):(\d\d):(\d\d(?:[.,]\d+)?)")


def read(
    path: Path, epoch: float, scorer: int | None, start: float | datetime | None, classes: int, codes: Codes | None
) -> Hypnogram:
    """See :func:`sigssl.data.hypnogram.read_hypnogram`."""
    lines = [(number, line) for number, line in _lines(path) if not line.startswith("#")]
    if not lines:
        raise UserError(f"{path}: holds no line with a stage.")
    if lines[0][1].casefold() == "[hypnogram]":
        return _dreams(path, [line for _, line in lines[1:]], epoch)
    _check_scorer(path, scorer)
    rows = _rows(lines)
    if path.suffix.casefold() == ".ids" and len(rows[0][1]) == 3:
        return _timed(path, rows, {"onset": 0, "duration": 1, "label": 2}, epoch, start, classes)
    heads = _heads(rows[0][1])
    if "onset" in heads:
        return _timed(path, rows[1:], heads, epoch, start, classes)
    if len(rows[0][1]) == 3 and _is_number(rows[0][1][0]) and _is_number(rows[0][1][1]) and not _is_number(rows[0][1][2]):
        return _timed(path, rows, {"onset": 0, "duration": 1, "label": 2}, epoch, start, classes)
    return _listed(path, rows, heads, epoch, scorer, classes, codes)


def _lines(path: Path) -> list[tuple[int, str]]:
    """Lines that are not blank, with their numbers; UTF-8 or, where it is not, UTF-16 or Latin-1."""
    data = path.read_bytes()
    if b"\0" in data and data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{path}: is no text, and no other kind of hypnogram that is known (EDF+, XML).")
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _rows(lines: list[tuple[int, str]]) -> list[tuple[int, list[str]]]:
    """Lines cut into cells by the tab, semicolon or comma of the first."""
    delimiter = next((mark for mark in "\t;," if mark in lines[0][1]), None)
    if delimiter is None:
        return [(number, [line]) for number, line in lines]
    cells = csv.reader((line for _, line in lines), delimiter=delimiter)
    return [(number, [cell.strip() for cell in row]) for (number, _), row in zip(lines, cells, strict=False)]


def _heads(cells: list[str]) -> dict[str, int]:
    """Which column is which, where the first line says so."""
    made = {}
    for column, names in HEADS.items():
        found = next((i for i, cell in enumerate(cells) if cell.casefold() in names), None)
        if found is not None:
            made[column] = found
    return made


def _timed(
    path: Path,
    rows: list[tuple[int, list[str]]],
    columns: dict[str, int],
    epoch: float,
    start: float | datetime | None,
    classes: int,
) -> Hypnogram:
    """Rows with an onset; without a duration each lasts up to the next."""
    if "label" not in columns:
        raise UserError(f"{path}:1: no column of stages. Expected one of {', '.join(sorted(HEADS['label']))}.")
    events = []
    for number, cells in rows:
        if len(cells) <= max(columns.values()):
            raise UserError(f"{path}:{number}: {len(cells)} columns, at least {max(columns.values()) + 1} expected.")
        onset = _onset(path, number, cells[columns["onset"]], start)
        stated = cells[columns["duration"]] if "duration" in columns else ""
        duration = 0.0 if stated.casefold() in ("", "n/a", "nan") else _seconds(path, number, stated)
        events.append(Annotation(onset, duration, cells[columns["label"]]))
    if isinstance(start, datetime) and events:  # times of day: past midnight they begin anew
        events = _unwrapped(events)
    if path.suffix.casefold() == ".ids":
        tokens = parse_labels([event.text for event in events], str(path), classes)
        return from_bouts([Bout(e.onset, e.duration, t) for e, t in zip(events, tokens, strict=True)], epoch, str(path))
    return from_events(sorted(events), epoch, str(path), classes, [])


def _listed(
    path: Path,
    rows: list[tuple[int, list[str]]],
    heads: dict[str, int],
    epoch: float,
    scorer: int | None,
    classes: int,
    codes: Codes | None,
) -> Hypnogram:
    """A stage per line, in the column that its head names, or the scorer's of several."""
    width = len(rows[0][1])
    column = heads.get("label", 0)
    if width > 1 and "label" not in heads:
        if scorer is None or not 1 <= scorer <= width:
            raise UserError(f"{path}: {width} columns and no head that names the stages; say which with scorer (1 to {width}).")
        column = scorer - 1
    labels = [cells[column] if column < len(cells) else "" for _, cells in rows]
    labels = labels[1:] if heads else labels
    while labels and not labels[-1]:
        labels.pop()
    whole = [_integer(label) for label in labels]
    if all(code is not None for code in whole):
        return Hypnogram(parse_codes([str(code) for code in whole], str(path), codes), epoch)
    return Hypnogram(parse_labels(labels, str(path), classes), epoch)


def _check_scorer(path: Path, scorer: int | None) -> None:
    named = ISRUC.fullmatch(path.name)
    if named and scorer is not None and int(named["scorer"]) != scorer:
        raise UserError(f"{path}: is scorer {named['scorer']}'s; scorer {scorer} asked for.")


def _dreams(path: Path, steps: list[str], epoch: float) -> Hypnogram:
    """Steps of 5 s; the stage of an epoch is that of most of its steps, of equally many the one that comes first."""
    unknown = Counter(step for step in steps if step not in DREAMS)
    if unknown:
        listed = ", ".join(f"{step!r} {n} times" for step, n in unknown.most_common())
        raise UserError(f"{path}: unknown DREAMS codes: {listed}. Known: {', '.join(DREAMS)}.")
    size = epoch / DREAMS_STEP
    if size != round(size):
        raise UserError(f"{path}: is in steps of {DREAMS_STEP:g} s; epochs of {epoch:g} s are no multiple of that.")
    tokens = [DREAMS[step] for step in steps]
    groups = [tokens[i : i + round(size)] for i in range(0, len(tokens) - round(size) + 1, round(size))]
    stages = [Counter(group).most_common(1)[0][0] for group in groups]  # of equal counts the first met
    mixed = sum(len(set(group)) > 1 for group in groups)
    notes = [f"{mixed} of {len(groups)} epochs hold two stages; the one of most of their 5-s steps was taken"] if mixed else []
    left = len(tokens) - len(groups) * round(size)
    notes += [f"the last {left * DREAMS_STEP:g} s are shorter than an epoch and left out"] if left else []
    return Hypnogram(stages, epoch, 0.0, tuple(notes))


def _onset(path: Path, number: int, text: str, start: float | datetime | None) -> float:
    clock = CLOCK.fullmatch(text)
    if not clock:
        return _seconds(path, number, text)
    if not isinstance(start, datetime):
        raise UserError(f"{path}:{number}: onset {text!r} is a time of day; give the recording's start (date and time) as `start`.")
    seconds = int(clock[2]) * 3600 + int(clock[3]) * 60 + float(clock[4].replace(",", "."))
    days = (datetime.fromisoformat(clock[1]).date() - start.date()).days if clock[1] else 0
    return days * 86400 + seconds - (start - start.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()


def _unwrapped(events: list[Annotation]) -> list[Annotation]:
    days = 0
    made = [events[0] if events[0].onset > -43200 else events[0]._replace(onset=events[0].onset + 86400)]
    days = round((made[0].onset - events[0].onset) / 86400)
    for before, event in pairwise(events):
        days += event.onset < before.onset - 43200
        made.append(event._replace(onset=event.onset + days * 86400))
    return made


def _seconds(path: Path, number: int, text: str) -> float:
    try:
        return float(text.removeprefix("+").replace(",", "."))
    except ValueError:
        raise UserError(f"{path}:{number}: {text!r} is no number of seconds.") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _integer(text: str) -> int | None:
    """The code that a cell holds, as 2 or as 2.0; None for none."""
    return int(float(text)) if _is_number(text) and float(text) == int(float(text)) else None
