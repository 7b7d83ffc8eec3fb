"""Nights in a folder of no known layout: which files are recordings, and which hypnogram belongs to which."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sigssl.corpora.psg_tree import Recorded
from sigssl.data.edf_header import read_header
from sigssl.data.psg import SUFFIXES
from sigssl.errors import UserError

# what may follow the name of the recording in the name of its hypnogram, and what it may end in
AFTER = re.compile(
    r"(?:[-_ .]?(?:hypnogram|hypno|hyp|stages|stage|staging|scoring|sleepscoring|scores|events|annotations|nsrr|profusion|base))?"
    r"\.(?:edf|xml|txt|csv|tsv|ids|hyp)$",
    re.IGNORECASE,
)
TAIL = re.compile(r"[-_ .]?(?:psg|eeg|raw|signals)$", re.IGNORECASE)  # of a recording's name, not of the night's
SLEEP_EDF = re.compile(r"(S[CT][47]\d{3})[A-Z][A-Z0-9](?=-)")  # the two files of a night differ in their eighth letter


def recordings(files: Sequence[Path]) -> list[Path]:
    """The files that hold signals; an EDF with annotations alone is a hypnogram."""
    return [path for path in files if path.suffix.lower() in SUFFIXES and not annotations_only(path)]


def annotations_only(path: Path) -> bool:
    """Whether a file is an EDF without signals; one that cannot be read counts as a recording, so that it is reported."""
    if path.suffix.lower() not in (".edf", ".bdf", ".rec"):
        return False
    try:
        return all(signal.is_annotation for signal in read_header(path).signals)
    except UserError:
        return False


def stem(path: Path) -> str:
    """The night's name in a recording's."""
    short = SLEEP_EDF.sub(r"\1", path.stem)
    return (TAIL.sub("", short) or short).lower()


def items(found: Sequence[tuple[Path, str, str]], files: Sequence[Path], epoch: float) -> list[Recorded]:
    """Nights with the hypnograms that are theirs by name; of several in different folders the one beside the recording.

    Args:
        found: recording, person and id.
        files: all files of the folder.
        epoch: seconds of an epoch.

    Raises:
        UserError: two hypnograms of a recording, none of which is the nearer.
    """
    taken = {path for path, _, _ in found}
    candidates: dict[str, list[Path]] = {}
    for path in files:
        name = SLEEP_EDF.sub(r"\1", path.name)
        if path not in taken and (match := AFTER.search(name)):
            candidates.setdefault(TAIL.sub("", name[: match.start()]).lower(), []).append(path)
    nights = []
    for path, person, name in found:
        mine = candidates.get(stem(path), [])
        beside = [other for other in mine if other.parent == path.parent]
        chosen = beside or mine
        if len(chosen) > 1:
            listed = ", ".join(str(other) for other in chosen)
            raise UserError(f"{path}: {len(chosen)} hypnograms could be its own: {listed}. Keep one of them in the folder.")
        nights.append(Recorded(name, person, path, chosen[0] if chosen else None, epoch))
    return nights
