"""The unit of extraction: fixed shards of utterances, each done whole or not at all, and what came of each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sigssl.data.datadir import Utterance
from sigssl.data.tar import tar_of

SHARDS = 64  # about as many shards are made of a small corpus ...
LARGEST = 1000  # ... and none is larger than this, so that a kill costs little


@dataclass(frozen=True)
class Shard:
    """Some utterances that are extracted together, by one worker, into files of their own.

    Attributes:
        number: from 1; part of the names of its files.
        utterances: in the order of their ids.
        key: changes when an id, a path, a time or a file's size does; a shard with the same key need not be done again.
    """

    number: int
    utterances: tuple[Utterance, ...]
    key: str


class Entry(NamedTuple):
    """Where an utterance's result lies: each of `places` is `file:offset` or a file, relative to the output folder."""

    id: str
    places: list[str]
    frames: int


class Bad(NamedTuple):
    """An utterance that was set aside."""

    id: str
    file: str
    reason: str


@dataclass
class Outcome:
    """What came of a shard.

    Attributes:
        shard: its number.
        key: its key.
        entries: results, in the order of their ids.
        bad: utterances set aside.
        seconds: signal that was read, good utterances only.
        files: bytes of each file written, by name; a resumed run trusts a shard only if its files still have these sizes.
        notes: how many utterances needed something worth saying (resampling, say), by what it was.
        about: what is to be known of single utterances, by id; plain values.
    """

    shard: int
    key: str
    entries: list[Entry] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)
    seconds: float = 0.0
    files: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """What the journal holds; named tuples become lists there."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Outcome:
        """The reverse of :meth:`as_json`."""
        return cls(**plain | {"entries": [Entry(*e) for e in plain["entries"]], "bad": [Bad(*b) for b in plain["bad"]]})


# What is done to a shard: it leaves its files whole, under their final names. It must pickle, and must make the same bytes
# whenever it gets the same shard.
Job = Callable[[Shard], Outcome]


def plan(utterances: list[Utterance], largest: int = LARGEST) -> list[Shard]:
    """Cut utterances, sorted by id, into shards.

    The cut depends on their number alone, never on the number of workers, so that every run of a corpus makes the same files.
    """
    size = min(max(-(-len(utterances) // SHARDS), 1), largest)
    bytes_of: dict[str, int] = {}
    shards = []
    for number, first in enumerate(range(0, len(utterances), size), 1):
        members = tuple(utterances[first : first + size])
        shards.append(Shard(number, members, _key(members, bytes_of)))
    return shards


def list_digest(utterances: list[Utterance]) -> str:
    """Identifies a list of utterances: ids, paths and times, but not what the files hold."""
    digest = hashlib.sha256()
    for utterance in utterances:
        digest.update(f"{utterance.id}\t{utterance.path}\t{utterance.start}\t{utterance.end}\n".encode())
    return digest.hexdigest()[:16]


def _key(members: tuple[Utterance, ...], bytes_of: dict[str, int]) -> str:
    digest = hashlib.sha256(list_digest(list(members)).encode())
    for utterance in members:
        if utterance.path not in bytes_of:
            try:
                bytes_of[utterance.path] = os.stat(tar_of(utterance.path) or utterance.path).st_size  # noqa: PTH116 (a million Paths are slow)
            except OSError:
                bytes_of[utterance.path] = -1
        digest.update(f"{bytes_of[utterance.path]}\n".encode())
    return digest.hexdigest()[:16]


def size(path: Path) -> int:
    """Bytes of a file, number of files in a folder, -1 for neither: what tells that it is as it was written."""
    if path.is_dir():
        return sum(1 for _ in path.iterdir())
    return path.stat().st_size if path.is_file() else -1
