"""What the corpora share: finding their files, naming utterances, and writing parts as data directories."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from sigssl.data import audio
from sigssl.data.datadir import DataDir, Segment
from sigssl.data.io import write_text
from sigssl.errors import UserError

QUARANTINE = "quarantine.tsv"
MOST_BAD = 0.05  # more unreadable files than this share of a part: the copy itself is at fault, so stop


class About(NamedTuple):
    """A corpus in the list of `sigssl prepare --list`."""

    what: str
    licence: str
    size: str
    example: str


class Item(NamedTuple):
    """One utterance on its way into a data directory.

    `start` and `end` in seconds cut it out of a longer file (`end` None: to the end). `phones`: one token per 10 ms.
    `seconds` spares opening a file whose duration is known.
    """

    id: str
    path: Path
    speaker: str
    text: str | None = None
    label: str | None = None
    start: float = 0.0
    end: float | None = None
    phones: list[str] | None = None
    seconds: float | None = None


def homes(folder: str) -> list[Path]:
    """Where a corpus may lie when no root is given: `$SIGSSL_DATA`, or `../shared/data` beside the working or the source tree."""
    base = os.environ.get("SIGSSL_DATA")
    bases = [Path(base)] if base else [Path("../shared/data"), Path(__file__).parents[2] / ".." / "shared" / "data"]
    return [Path(os.path.normpath(b.absolute())) / folder for b in bases]


def find_root(root: Path | None, folder: str, marks: Sequence[str]) -> tuple[Path, str]:
    """Find a corpus on disk and tell which of its layouts it has.

    Args:
        root: the user's choice; None looks at `homes(folder)`.
        folder: the corpus's own folder name, also tried inside `root`.
        marks: one path per known layout, relative to the corpus (`metadata.csv`, `recordings`), in order of preference.

    Returns:
        The corpus's folder (absolute) and the mark that was found in it.

    Raises:
        UserError: none is there; every path looked at is listed.
    """
    tried = [root.absolute(), root.absolute() / folder] if root else homes(folder)
    for place in dict.fromkeys(tried):
        for mark in marks:
            if (place / mark).exists():
                return place, mark
    looked = "\n".join(f"  {place}/{{{','.join(marks)}}}" for place in dict.fromkeys(tried))
    advice = "Check --root" if root else f"Give --root, or set SIGSSL_DATA to the folder that holds {folder!r}"
    raise UserError(f"found no {folder} corpus; looked for\n{looked}\n{advice}.")


def token(text: str) -> str:
    """`text` as part of an id: white space and separators become `_`, so that ids hold no spaces and sort as Kaldi wants."""
    return re.sub(r"[^\w.-]+", "_", text.strip()).strip("_") or "x"


def speaker_first(speaker: str, name: str) -> tuple[str, str]:
    """A speaker's name and an utterance id that begins with it.

    Kaldi needs the utterances of a speaker to stand together in the order of ids. `speaker-` in front does that, since `-` sorts
    before what else names hold; hyphens inside the speaker's name would undo it and become `_`.
    """
    speaker, name = token(speaker).replace("-", "_"), token(name)
    return speaker, name if name.startswith(f"{speaker}-") else f"{speaker}-{name}"


def one_line(text: str | None) -> str | None:
    """A transcript with single spaces; None where nothing is left."""
    return " ".join(text.split()) or None if text else None


def write_parts(out: Path, parts: Mapping[str, Sequence[Item]], nj: int = 4) -> dict[str, DataDir]:
    """Write each part as the data directory `out/<part>`.

    Files that cannot be opened are set aside and listed in `out/<part>/quarantine.tsv` (id, file, reason).

    Args:
        out: the folder to write to.
        parts: name -> utterances.
        nj: how many files are opened at a time.

    Raises:
        UserError: a part without utterances, an id twice, or more than 5 % of a part unreadable.
    """
    paths = sorted({item.path for items in parts.values() for item in items if item.seconds is None})
    with ThreadPoolExecutor(max(1, nj)) as pool:
        found = dict(zip(paths, pool.map(duration, paths), strict=True))
    return {name: write_part(out / name, items, found) for name, items in parts.items()}


def duration(path: Path) -> float | UserError:
    """A file's duration in seconds, or what is wrong with it."""
    try:
        return audio.info(path).duration
    except UserError as error:
        return error


def write_part(folder: Path, items: Sequence[Item], found: Mapping[Path, float | UserError]) -> DataDir:
    """Write one part; `found` holds each file's duration, or the error that opening it gave."""
    if not items:
        raise UserError(f"{folder}: no utterances for this part.")
    good: dict[str, tuple[Item, float]] = {}
    bad: list[tuple[str, Path, str]] = []
    for item in items:
        seconds = found[item.path] if item.seconds is None else item.seconds
        if item.id in good:
            raise UserError(f"utterance id {item.id!r} twice: {good[item.id][0].path} and {item.path}. Ids must be unique.")
        if isinstance(seconds, UserError):
            bad.append((item.id, item.path, " ".join(str(seconds).split())))
        elif (reason := outside(item, seconds)) is not None:
            bad.append((item.id, item.path, reason))
        else:
            good[item.id] = (item, seconds)
    if len(bad) > MOST_BAD * len(items):
        shown = "\n".join(f"  {path}: {reason}" for _, path, reason in bad[:5])
        raise UserError(f"{folder}: {len(bad)} of {len(items)} recordings cannot be used:\n{shown}\nRepair or complete the copy.")
    quarantine = folder / QUARANTINE
    quarantine.unlink(missing_ok=True)
    if bad:
        write_text(quarantine, "".join(f"{name}\t{path}\t{reason}\n" for name, path, reason in bad))
    directory = build(folder, good)
    directory.write()
    return directory


def outside(item: Item, seconds: float) -> str | None:
    """Why the item's `start` and `end` do not fit a file of `seconds`; None when they do."""
    end = seconds if item.end is None else item.end
    if not 0 <= item.start < end:
        return f"start {item.start:g} s and end {end:g} s hold no audio"
    if end > seconds + audio.OVERSHOOT:
        return f"end {end:g} s lies behind the end of the file ({seconds:g} s)"
    return None


def build(folder: Path, good: Mapping[str, tuple[Item, float]]) -> DataDir:
    """The data directory of usable items and their files' durations; `segments` only where an item is a cut."""
    cuts = {name: item for name, (item, _) in good.items() if item.start > 0 or item.end is not None}
    recording = recording_names({item.path for item in cuts.values()}) if cuts else {}
    wav: dict[str, str] = {}
    segments: dict[str, Segment] = {}
    utt2dur: dict[str, float] = {}
    for name, (item, seconds) in good.items():
        end = seconds if item.end is None else min(seconds, item.end)
        if cuts:
            owner = recording.get(item.path, name)
            wav[owner] = str(item.path)
            segments[name] = Segment(owner, item.start, end)
        else:
            wav[name] = str(item.path)
        utt2dur[name] = round(end - item.start, 6)
    return DataDir(
        path=folder,
        wav=wav,
        segments=segments if cuts else None,
        utt2spk={name: item.speaker for name, (item, _) in good.items()},
        text={name: item.text for name, (item, _) in good.items() if item.text},
        utt2dur=utt2dur,
        utt2label={name: item.label for name, (item, _) in good.items() if item.label},
        phones={name: item.phones for name, (item, _) in good.items() if item.phones},
    )


def recording_names(paths: Iterable[Path]) -> dict[Path, str]:
    """A short unique name per file: its stem, with a number where stems meet."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in sorted(paths):
        name, n = token(path.stem), 1
        while name in taken:
            n += 1
            name = f"{token(path.stem)}-{n}"
        taken.add(name)
        names[path] = name
    return names
