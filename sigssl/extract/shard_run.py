"""One shard from recordings to files: read ahead, batch by length, stream what is long, set aside what fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from sigssl.data.datadir import Utterance
from sigssl.errors import UserError
from sigssl.extract.reading import Clip, Reading, ahead, batches, gather, read_clips
from sigssl.extract.shards import Bad, Outcome, Shard
from sigssl.extract.store import Sink, Tracks

# what a strange recording can raise in a computation; anything else is a fault of the program and must not pass for bad data
BY_DATA = (UserError, RuntimeError, ValueError, ArithmeticError, OSError)


@runtime_checkable
class Item(Protocol):
    """What a result belongs to: a clip, or a night."""

    @property
    def id(self) -> str:
        """Its utterance id."""

    @property
    def path(self) -> str:
        """Its file, for messages."""

    @property
    def seconds(self) -> float:
        """Its length."""

    @property
    def notes(self) -> Iterable[str]:
        """What is worth saying about it, once its result is complete."""

    @property
    def held(self) -> bool:
        """Whether its result is complete already, so that what fails from here on is not its fault."""

    def about(self) -> Any:
        """What the journal keeps of it, None for nothing."""


@dataclass(frozen=True)
class Compute:
    """A computation on clips.

    Attributes:
        batch: clips in memory -> the tracks of each.
        stream: a long clip -> its tracks, piece by piece.
        samples: what a batch holds at the most, padding included.
        hold: seconds of signal that are gathered to be sorted by length.
    """

    batch: Callable[[list[Clip]], list[Tracks]]
    stream: Callable[[Clip], Iterable[Tracks]]
    samples: int
    hold: float


def computed(utterances: Iterable[Utterance], how: Reading, what: Compute) -> Iterator[Bad | tuple[Clip, Iterable[Tracks]]]:
    """Read and compute; reading goes on in a thread of its own meanwhile.

    Yields:
        for each utterance, in batches of like length, its clip and the pieces of its result, or why there is none. A long
        recording is read while its pieces are consumed, and may raise then.
    """
    with closing(ahead(gather(read_clips(utterances, how), what.hold))) as gathered:  # type: ignore[type-var]
        for clips in gathered:
            held = []
            for clip in clips:
                if isinstance(clip, Bad):
                    yield clip
                elif clip.signal is None:
                    yield clip, _checked(clip, what.stream(clip))
                else:
                    held.append(clip)
            for batch in batches(held, what.samples):
                yield from _computed_batch(batch, what)


def _computed_batch(batch: list[Clip], what: Compute) -> Iterator[Bad | tuple[Clip, Iterable[Tracks]]]:
    """A batch; where it fails, each of its clips alone, so that only the culprit is set aside."""
    try:
        results = what.batch(batch)
    except BY_DATA as error:
        if _is_memory(error):
            raise UserError(
                f"out of memory in a batch of {sum(map(len, batch))} samples: {error}. Lower --batch-seconds."
            ) from error
        if len(batch) == 1:
            yield Bad(batch[0].id, batch[0].path, str(error))
            return
        for clip in batch:
            yield from _computed_batch([clip], what)
        return
    for clip, tracks in zip(batch, results, strict=True):
        problem = _problem(clip, tracks)
        yield Bad(clip.id, clip.path, problem) if problem else (clip, [tracks])


def run_shard(shard: Shard, how: Reading, what: Compute, sink: Sink) -> Outcome:
    """Do a shard and write it into `sink`."""
    return write_results(shard, computed(shard.utterances, how, what), sink)


def write_results(shard: Shard, results: Iterable[Bad | tuple[Item, Iterable[Tracks]]], sink: Sink) -> Outcome:
    """Write a shard's results into `sink` as they come; what fails on the way is set aside."""
    about: dict[str, Any] = {}
    bad: list[Bad] = []
    notes: Counter[str] = Counter()
    seconds = 0.0
    with sink:
        for result in results:
            if isinstance(result, Bad):
                bad.append(result)
                continue
            item, pieces = result
            try:
                sink.write(item.id, pieces)
            except BY_DATA as error:
                if isinstance(error, OSError) or item.held or _is_memory(error):
                    raise  # a full disk, say: no fault of the recording
                bad.append(Bad(item.id, item.path, str(error)))
                continue
            seconds += item.seconds
            notes.update(item.notes)
            told = item.about()
            if told is not None:
                about[item.id] = told
    return Outcome(
        shard=shard.number,
        key=shard.key,
        entries=sorted(sink.entries),
        bad=sorted(bad),
        seconds=seconds,
        files=sink.files(),
        notes=dict(sorted(notes.items())),
        about=about,
    )


def _checked(clip: Clip, pieces: Iterable[Tracks]) -> Iterator[Tracks]:
    for tracks in (piece for piece in pieces if len(piece[0])):
        problem = _problem(clip, tracks)
        if problem:
            raise UserError(problem)
        yield tracks


def _problem(clip: Clip, tracks: Tracks) -> str:
    if not len(tracks[0]):
        return f"{clip.path}: is shorter than one frame ({clip.seconds:.4f} s)."
    if not all(np.isfinite(track).all() for track in tracks):
        return f"{clip.path}: the result is not finite."
    return ""


def _is_memory(error: BaseException) -> bool:
    return type(error).__name__ == "OutOfMemoryError" or "not enough memory" in str(error)
