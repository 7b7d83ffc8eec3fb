"""Mean and variance normalisation over speakers or a corpus: statistics in Kaldi's form, and a second pass that applies them."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import kaldi_native_io
import numpy as np
from jaxtyping import Float64

from sigssl.data.datadir import Utterance
from sigssl.data.io import whole, write_table
from sigssl.data.matrix import read_rows
from sigssl.errors import UserError
from sigssl.extract.journal import read_outcomes
from sigssl.extract.shards import Entry, Outcome, Shard
from sigssl.extract.store import ArkSink, CompressedArkSink, Tracks

RAW = ".raw"  # subfolder of the features before normalisation, gone in the end
ROWS = 1 << 16  # frames in memory at once
Over = Literal["speaker", "global"]
Stats = Float64[np.ndarray, "2 columns"]  # Kaldi's: sums and the count of frames, then sums of squares and 0


def group_of(utterance: Utterance, over: Over) -> str:
    """The name under which an utterance's frames are counted: its speaker, or "global"."""
    if over == "global":
        return "global"
    if utterance.speaker is None:
        raise UserError(f"utterance {utterance.id!r} has no speaker, so --cmvn speaker is not possible: add it to utt2spk.")
    return utterance.speaker


def dependent(shards: list[Shard]) -> list[Shard]:
    """The same shards with keys that change when any of them does, since each one's result depends on all recordings."""
    everything = hashlib.sha256("".join(shard.key for shard in shards).encode()).hexdigest()[:16]
    return [replace(shard, key=f"{shard.key}.{everything}") for shard in shards]


def statistics(folder: Path, outcomes: list[Outcome], groups: dict[str, str]) -> dict[str, Stats]:
    """Sum up frames.

    Args:
        folder: output folder, whose subfolder holds the features before normalisation.
        outcomes: what is in that, in order.
        groups: utterance -> group.

    Returns:
        group -> statistics.
    """
    made: dict[str, np.ndarray] = {}
    for outcome in outcomes:
        for entry in outcome.entries:
            for (rows,) in _pieces(folder / RAW, entry):
                x = rows.astype(np.float64)
                new = np.stack([np.append(x.sum(0), len(x)), np.append(np.square(x).sum(0), 0)])
                group = groups[entry.id]
                made[group] = made[group] + new if group in made else new
    return made


def write(folder: Path, stats: dict[str, Stats]) -> None:
    """Write `cmvn.ark` and `cmvn.scp` as Kaldi's compute-cmvn-stats does."""
    folder.mkdir(parents=True, exist_ok=True)
    places = {}
    with whole(folder / "cmvn.ark") as path, contextlib.closing(kaldi_native_io.DoubleMatrixWriter(f"ark:{path}")) as writer:
        for group, matrix in sorted(stats.items()):
            places[group] = f"{folder.resolve()}/cmvn.ark:{path.stat().st_size + len(group.encode()) + 1}"
            writer.write(group, matrix)
            writer.flush()
    write_table(folder / "cmvn.scp", places)


def read(folder: Path | str) -> dict[str, Stats]:
    """Read the `cmvn.ark` of an output folder.

    Raises:
        UserError: there is none.
    """
    path = Path(folder) / "cmvn.ark"
    if not path.is_file():
        raise UserError(f"{path}: no such file; --cmvn-from expects a folder that `sigssl features --cmvn speaker|global` wrote.")
    with contextlib.closing(kaldi_native_io.SequentialDoubleMatrixReader(f"ark:{path}")) as reader:
        return {group: np.array(matrix) for group, matrix in reader}


def digest(folder: Path | str | None) -> str | None:
    """Identifies the statistics of another folder; None for none."""
    if folder is None:
        return None
    read(folder)
    return hashlib.sha256((Path(folder) / "cmvn.ark").read_bytes()).hexdigest()[:16]


@dataclass(frozen=True)
class NormaliseJob:
    """Subtract the mean and divide by the standard deviation of each utterance's group.

    Attributes:
        folder: output folder, which holds `cmvn.ark`; the features before normalisation are in its subfolder.
        over: what the groups are.
        compress: Kaldi's lossy 8-bit form.
    """

    folder: str
    over: Over
    compress: bool = False

    def __call__(self, shard: Shard) -> Outcome:
        """Do a shard."""
        folder = Path(self.folder)
        stats = _read_cached(self.folder, (folder / "cmvn.ark").stat().st_mtime_ns)
        before = _outcomes_cached(self.folder, (folder / RAW / "journal.jsonl").stat().st_mtime_ns)[shard.number]
        groups = {utterance.id: group_of(utterance, self.over) for utterance in shard.utterances}
        with (CompressedArkSink if self.compress else ArkSink)(folder, "feats", shard.number) as sink:
            for entry in before.entries:
                mean, scale = standardisation(stats, groups[entry.id])
                sink.write(entry.id, ([(rows - mean) * scale] for (rows,) in _pieces(folder / RAW, entry)))
        return replace(before, key=shard.key, entries=sorted(sink.entries), files=sink.files())


def standardisation(stats: dict[str, Stats], group: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean [F] to subtract and scale [F] to multiply by, float32; the variance is Kaldi's (divided by N), floored at 1e-20.

    Raises:
        UserError: no statistics of this group.
    """
    if group not in stats:
        raise UserError(f"no CMVN statistics of {group!r}; there are those of {', '.join(sorted(stats)[:5])}.")
    count = stats[group][0, -1]
    mean = stats[group][0, :-1] / count
    variance = np.maximum(stats[group][1, :-1] / count - mean**2, 1e-20)
    return mean.astype(np.float32), (1 / np.sqrt(variance)).astype(np.float32)


def _pieces(folder: Path, entry: Entry) -> Iterator[Tracks]:
    for first in range(0, entry.frames, ROWS):
        yield [read_rows(f"{folder}/{entry.places[0]}", first, min(first + ROWS, entry.frames))]


@functools.lru_cache(maxsize=1)
def _read_cached(folder: str, changed: int) -> dict[str, Stats]:
    return read(folder)


@functools.lru_cache(maxsize=1)
def _outcomes_cached(folder: str, changed: int) -> dict[int, Outcome]:
    return {outcome.shard: outcome for outcome in read_outcomes(Path(folder) / RAW / "journal.jsonl")}
