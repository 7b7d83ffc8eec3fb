"""Joining data directories; ids that clash are errors unless each directory gets a prefix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from sigssl.data.datadir import CARRIED, DataDir, Segment
from sigssl.errors import UserError

Value = TypeVar("Value")
BY_UTTERANCE = ("utt2spk", "text", "utt2dur", "utt2label", "feats", "phones", "stages")


def combine(data: Sequence[DataDir], path: Path | str, prefixes: Sequence[str] | None = None) -> tuple[DataDir, list[str]]:
    """Join directories into one.

    Args:
        data: the directories. Where only some have segments, the recordings of the others become segments of their whole length.
        path: the folder that the result is for (it is not written).
        prefixes: for each directory the prefix of its utterance, recording and speaker ids, joined with a hyphen.

    Returns:
        The joined directory, and remarks: tables that some lack, speakers that several have.

    Raises:
        UserError: an id in two of them (a recording may be in two when it is the same file), or sleep epochs of different lengths.
    """
    parts = [part.portable() for part in data]
    if any(part.segments is not None for part in parts):
        parts = [replace(p, segments=_whole(p) if p.segments is None else p.segments) for p in parts]
    if prefixes is not None:
        if len(prefixes) != len(parts) or len(set(prefixes)) != len(prefixes):
            raise UserError(f"{len(parts)} directories need as many different prefixes; got {list(prefixes)}.")
        parts = [_prefixed(part, prefix) for part, prefix in zip(parts, prefixes, strict=True)]
    _refuse_shared_ids(parts)
    _refuse_other_epochs(parts)
    epoch = next((part.epoch_length for part in parts if part.stages), parts[0].epoch_length)
    joined = DataDir(path=Path(path), allow_commands=any(part.allow_commands for part in parts), epoch_length=epoch)
    joined.wav = _join(parts, [part.wav for part in parts], "wav.scp")
    if parts[0].segments is not None:
        joined.segments = _join(parts, [part.segments or {} for part in parts], "segments")
    for name in BY_UTTERANCE:
        setattr(joined, name, _join(parts, [getattr(part, name) for part in parts], name))
    for file in CARRIED:
        table: dict[str, str] = _join(parts, [part.carried.get(file, {}) for part in parts], file)
        if table:
            joined.carried[file] = table
    return joined, list(_remarks(parts))


def _remarks(parts: Sequence[DataDir]) -> list[str]:
    made = []
    for name in BY_UTTERANCE:
        without = [str(part.path) for part in parts if not getattr(part, name)]
        if 0 < len(without) < len(parts):
            made.append(f"{name} is absent from {', '.join(without)}; the joined one covers the others only")
    seen: dict[str, Path] = {}
    for part in parts:
        shared = sorted(speaker for speaker in set(part.utt2spk.values()) if speaker in seen)
        if shared:
            made.append(
                f"speaker {shared[0]!r} is in {seen[shared[0]]} and {part.path} ({len(shared)} such): "
                f"taken for one person; give prefixes if they are not"
            )
        seen.update({speaker: part.path for speaker in part.utt2spk.values() if speaker not in seen})
    return made


def _refuse_shared_ids(parts: Sequence[DataDir]) -> None:
    home: dict[str, Path] = {}
    clashes = []
    for part in parts:
        clashes += [(key, home[key], part.path) for key in part.ids() if key in home]
        home.update(dict.fromkeys(part.ids(), part.path))
    if clashes:
        listed = ", ".join(f"{key!r} ({a} and {b})" for key, a, b in clashes[:5])
        raise UserError(
            f"{len(clashes)} utterance ids are in two directories: {listed}{', ...' if len(clashes) > 5 else ''}. "
            f"Give prefixes (--prefix) if they are different utterances, or drop one of the directories."
        )


def _refuse_other_epochs(parts: Sequence[DataDir]) -> None:
    lengths = {part.epoch_length: part.path for part in parts if part.stages}
    if len(lengths) > 1:
        listed = ", ".join(f"{seconds:g} s in {path}" for seconds, path in lengths.items())
        raise UserError(f"epochs of different lengths cannot be joined: {listed}. Score or cut one of them anew.")


def _join(parts: Sequence[DataDir], tables: Sequence[Mapping[str, Value]], name: str) -> dict[str, Value]:
    joined: dict[str, Value] = {}
    for part, table in zip(parts, tables, strict=True):
        for key, value in table.items():
            if joined.setdefault(key, value) != value:
                raise UserError(
                    f"{name}: {key!r} is {joined[key]!r} in one directory and {value!r} in {part.path}. "
                    f"Give prefixes (--prefix) if they are different, or make them alike."
                )
    return joined


def _whole(part: DataDir) -> dict[str, Segment]:
    return {key: Segment(key, 0.0, -1.0) for key in part.wav}


def _prefixed(part: DataDir, prefix: str) -> DataDir:
    def named(table: Mapping[str, Any]) -> dict[str, Any]:
        return {f"{prefix}-{key}": value for key, value in table.items()}

    segments = part.segments
    if segments is not None:
        segments = named({key: segment._replace(recording=f"{prefix}-{segment.recording}") for key, segment in segments.items()})
    tables = {name: named(getattr(part, name)) for name in (*BY_UTTERANCE, "wav")}
    tables["utt2spk"] = {key: f"{prefix}-{speaker}" for key, speaker in tables["utt2spk"].items()}
    return DataDir(
        path=part.path,
        segments=segments,
        carried={file: named(table) for file, table in part.carried.items()},
        allow_commands=part.allow_commands,
        epoch_length=part.epoch_length,
        **tables,
    )
