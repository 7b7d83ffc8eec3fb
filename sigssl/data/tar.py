"""Recordings inside of tar files, by their number: `FILE.tar!/000000012/ID`, which a wav.scp may hold in place of a file.

The number comes before the name, so that places that are sorted are in the order in which a tar is read from its beginning.
"""

from __future__ import annotations

import functools
import os
import re
import tarfile
from typing import NamedTuple

from sigssl.errors import UserError

PLACE = re.compile(r"(?P<tar>.*\.tar)!/(?P<number>\d+)/(?P<id>.+)", re.DOTALL)
INSIDE = ".tar!/"
OPEN = 32  # tar files whose members are remembered: about 100 bytes for each member


class Member(NamedTuple):
    """Where a file lies in a tar: its name, the ending of that, byte offset and bytes."""

    stem: str
    ending: str
    offset: int
    size: int


def place_of(tar: str, number: int, id: str) -> str:
    """The place of the recording `id`, which is number `number` (from 0) of a tar of Shar."""
    return f"{tar}!/{number:09d}/{id}"


def tar_of(place: str) -> str:
    """The tar file of a place; "" where it is no place in a tar."""
    found = PLACE.fullmatch(place) if INSIDE in place else None
    return found["tar"] if found else ""


def locate(place: str) -> tuple[str, Member]:
    """Where the bytes of a place are: the tar file, and the member.

    Raises:
        UserError: no such tar, a compressed or truncated one, or one that has another recording there, or none.
    """
    found = PLACE.fullmatch(place)
    assert found is not None  # callers ask tar_of first
    tar, number = found["tar"], int(found["number"])
    try:
        status = os.stat(tar)  # noqa: PTH116 - once per recording that is read
    except OSError as error:
        raise UserError(f"{tar}: cannot be opened: {error.strerror}. Complete the copy of the Shar folder.") from None
    members = _members(tar, status.st_size, status.st_mtime_ns)
    if number >= len(members):
        raise UserError(
            f"{tar}: ends after {len(members)} recordings; number {number}, {found['id']!r}, is missing. Copy it again."
        )
    member = members[number]
    if member.stem != found["id"]:
        raise UserError(f"{tar}: recording {number} is {member.stem!r}, its manifest says {found['id']!r}. Write the Shar anew.")
    if member.ending == "nodata":
        raise UserError(f"{tar}: {member.stem!r} has no audio; the cut was written without its recording.")
    if member.offset + member.size > status.st_size:
        raise UserError(f"{tar}: truncated within {member.stem!r}. Copy it again.")
    return tar, member


@functools.lru_cache(maxsize=OPEN)
def _members(tar: str, size: int, changed: int) -> tuple[Member, ...]:
    """The recordings of a tar of Shar, of which each is followed by its JSON; only headers are read.

    Args:
        tar: the file.
        size: bytes, and `changed`, when it was written: so that a file that was replaced is read anew.
        changed: nanoseconds.
    """
    found = []
    try:
        with tarfile.open(tar, "r:") as file:
            while (entry := file.next()) is not None:
                stem, _, ending = entry.name.rpartition(".")
                if ending not in ("json", "nometa"):
                    found.append(Member(stem, ending, entry.offset_data, entry.size))
    except tarfile.ReadError as error:
        if not found:
            raise UserError(f"{tar}: is no uncompressed tar file ({error}); unpack it, or write the Shar anew.") from None
    return tuple(found)
