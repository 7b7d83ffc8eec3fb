"""Places as scp files name them (`file`, `file.ark:123`, `file.ark:123[0:9]`), and where a relative one is looked for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

PLACE = re.compile(r"(?P<file>.*?)(?::(?P<offset>\d+))?(?P<range>\[[\d:,]*\])?", re.DOTALL)


class Place(NamedTuple):
    """A file, the byte offset in it (None: it is the file itself), and Kaldi's range of rows and columns ("" for all)."""

    file: str
    offset: int | None
    range: str


def parse_place(value: str) -> Place:
    """Split `file[:offset][range]`."""
    found = PLACE.fullmatch(value)
    assert found is not None  # every part is optional
    return Place(found["file"], None if found["offset"] is None else int(found["offset"]), found["range"] or "")


def find(value: str, folder: Path, *, by_name: bool = False) -> str:
    """Where the file of a place is: as it stands (a relative path counts from where one is, as in Kaldi), else in `folder`.

    Args:
        value: the place.
        folder: where the table lies that names it.
        by_name: look in `folder` for the file's bare name too, as when a feature store was moved with its arks.

    Returns:
        The place with the path that exists; `value` itself where none does.
    """
    if value.startswith("/") and not by_name:  # the usual case, a hundred thousand times
        return value
    file = parse_place(value).file
    absolute = Path(file).is_absolute()
    if (absolute and not by_name) or Path(file).exists():
        return value
    for candidate in [folder / file] * (not absolute) + [folder / Path(file).name] * by_name:
        if candidate.exists():
            return f"{candidate}{value[len(file) :]}"
    return value
