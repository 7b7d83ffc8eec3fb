"""Which recordings are to be staged, what their nights are called, and which hypnogram belongs to which."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sigssl.corpora.psg_tree import pair
from sigssl.data.psg import SUFFIXES
from sigssl.errors import UserError
from sigssl.reports.nights import Recording

ENDINGS = re.compile(r"([-_ .](psg|eeg|hypnogram|hypno|stages?|scoring|profusion|nsrr|events|base|annotations?|annot))+$", re.I)
SLEEP_EDF = re.compile(r"^(S[CT]\d{4})[A-Z][A-Z0-9]$", re.I)  # SC4001E0 is a recording, SC4001EC its hypnogram
HYPNOGRAM = re.compile(r"hypnogram", re.I)
SCORED = {".edf", ".xml", ".txt", ".csv", ".tsv", ".ids", ".hyp", ".annot"}  # endings of files that may hold a hypnogram
ANNOTATIONS = (b"EDF Annotations ", b"BDF Annotations ")


def find_recordings(
    places: Sequence[str], reference: str = "", persons: Mapping[str, str] | None = None
) -> tuple[list[Recording], list[str]]:
    """The recordings in files and folders.

    Args:
        places: files, and folders that are searched with their subfolders (hypnograms beside the recordings are passed over).
        reference: the hypnogram of a single recording, or a folder of them, paired by name.
        persons: night -> person; by default what the names say (:func:`person_of`).

    Returns:
        Recordings sorted by name, and what a user should know of the pairing.

    Raises:
        UserError: a place that is not there, nothing to stage, or references that fit no recording.
    """
    paths = _paths(places)
    if not paths:
        raise UserError(f"{', '.join(places)}: no recording there. Looked for {', '.join(sorted(SUFFIXES))}.")
    names = night_names(paths)
    pairs, notes = pair_references(paths, reference) if reference else ({}, [])
    known = persons or {}
    found = [Recording(names[p], str(p), str(pairs.get(p, "")), known.get(names[p]) or person_of(p)) for p in paths]
    return sorted(found), notes


def night_names(paths: Sequence[Path]) -> dict[Path, str]:
    """A unique name for each recording's night: the file's, with folders before it where several have that name."""
    depth = dict.fromkeys(paths, 1)

    def named(path: Path) -> str:
        parts = [*path.absolute().parts[-depth[path] : -1], path.stem] if depth[path] > 1 else [path.stem]
        return re.sub(r"[^\w.+=#-]+", "_", "-".join(parts)).strip(".") or "night"

    for _ in range(8):
        counts = Counter(named(path).casefold() for path in paths)
        again = [path for path in paths if counts[named(path).casefold()] > 1]
        if not again:
            break
        for path in again:
            depth[path] += 1
    names, taken = {}, Counter[str]()
    for path in paths:  # what folders do not tell apart, as night.edf and night.bdf, is numbered
        taken[named(path).casefold()] += 1
        count = taken[named(path).casefold()]
        names[path] = named(path) if count == 1 else f"{named(path)}-{count}"
    return names


def pair_references(paths: Sequence[Path], reference: str) -> tuple[dict[Path, Path], list[str]]:
    """The hypnogram of each recording.

    Args:
        paths: recordings.
        reference: a file, where there is one recording, or a folder: files are paired by their names without endings such as
            `-PSG`, `-Hypnogram`, `_events`, `-nsrr`, and Sleep-EDF's by subject and night, never by their order.

    Returns:
        The pairs, and what has no partner or more than one.

    Raises:
        UserError: no such place, or no pair at all.
    """
    place = Path(reference)
    if place.is_file():
        if len(paths) > 1:
            raise UserError(f"--reference {reference}: is one file for {len(paths)} recordings; name a folder of references.")
        return {paths[0]: place}, []
    if not place.is_dir():
        raise UserError(f"--reference {reference}: no such file or folder.")
    recordings = {path.resolve() for path in paths}
    files = [path for path in files_below(place) if path.suffix.lower() in SCORED and path.resolve() not in recordings]
    pairs, aside = pair(paths, files, lambda path: pairing_key(path.stem))
    notes = [
        f"reference of {one.path.name}: {one.reason}" for one in aside if one.path in set(paths) or "no way to tell" in one.reason
    ]
    if not pairs:
        shown = ", ".join(file.name for file in files[:4]) or "no hypnogram"
        names = ", ".join(path.name for path in paths[:4])
        raise UserError(f"--reference {reference}: holds {shown}, none that belongs to a recording alone ({names}).")
    return dict(pairs.values()), notes


def pairing_key(stem: str) -> str:
    """What a recording's and its hypnogram's names have in common."""
    bare = ENDINGS.sub("", stem)
    found = SLEEP_EDF.match(bare)
    return (found[1] if found else bare).casefold()


def person_of(path: Path) -> str:
    """The person that a file's name tells: Sleep-EDF's (both nights of SC4ssN are one's), BIDS's `sub-`; "" where it tells none."""
    found = SLEEP_EDF.match(ENDINGS.sub("", path.stem))
    if found:
        return found[1][:5].upper()
    bids = re.match(r"sub-([A-Za-z0-9]+)", path.stem)
    return f"sub-{bids[1]}" if bids else ""


def _paths(places: Iterable[str]) -> list[Path]:
    found: dict[Path, Path] = {}
    for place in map(Path, places):
        if not place.exists():
            raise UserError(f"{place}: no such file or folder.")
        inside = [path for path in files_below(place) if path.suffix.lower() in SUFFIXES and not _is_hypnogram(path)]
        for path in inside if place.is_dir() else [place]:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def files_below(folder: Path) -> list[Path]:
    """Files below a folder, sorted; hidden ones are passed over."""
    if not folder.is_dir():
        return []
    inside = (path for path in folder.rglob("*") if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    return sorted(path for path in inside if path.is_file())


def _is_hypnogram(path: Path) -> bool:
    """Whether an EDF file says so in its name, or holds annotations alone."""
    if HYPNOGRAM.search(path.stem):
        return True
    with path.open("rb") as file:
        head = file.read(272)
    return head[252:256].strip() == b"1" and head[256:272] in ANNOTATIONS
