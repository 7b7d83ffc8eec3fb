"""Recordings in, ahead of the computation: decoded, brought to one rate and one channel, gathered into batches of like length."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int

from sigssl.data import audio
from sigssl.data.datadir import Utterance
from sigssl.errors import UserError
from sigssl.extract.shards import Bad

Item = TypeVar("Item")
BLOCK = 30.0  # seconds of a long recording that are read at once


@dataclass(frozen=True)
class Reading:
    """How recordings are read.

    Attributes:
        sample_rate: what they are brought to, in hertz.
        channel: the one that is taken (from 0), or "mean" of all.
        resample: whether those at another rate are resampled; set aside otherwise.
        long: seconds from which an utterance is streamed instead of held in memory.
    """

    sample_rate: int
    channel: int | Literal["mean"] = 0
    resample: bool = True
    long: float = 120.0


@dataclass(frozen=True)
class Clip:
    """A decoded utterance, or the way to read a long one.

    Attributes:
        utterance: which.
        how: how it is read.
        seconds: its length.
        signal: float32 [n]; None where it is to be streamed.
        notes: what is worth saying about it.
    """

    utterance: Utterance
    how: Reading
    seconds: float
    signal: Float[np.ndarray, " samples"] | None
    notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Its utterance id."""
        return self.utterance.id

    @property
    def path(self) -> str:
        """Its file, for messages."""
        return self.utterance.path

    @property
    def held(self) -> bool:
        """Whether it is in memory, and not to be streamed."""
        return self.signal is not None

    def about(self) -> None:
        """Nothing is kept of it but its features."""

    def tensors(self) -> Iterator[Float[torch.Tensor, " n"]]:
        """Begin to read it anew, in pieces [n]."""
        _, path, start, end, _, _ = self.utterance
        for block in audio.blocks(path, BLOCK, self.how.sample_rate, self.how.channel, start, end):
            yield torch.from_numpy(block[0])

    def __len__(self) -> int:
        """Samples held in memory."""
        return 0 if self.signal is None else len(self.signal)


def read_clips(utterances: Iterable[Utterance], how: Reading) -> Iterator[Clip | Bad]:
    """Decode utterances in order; one that cannot be read gives a :class:`Bad` in its place."""
    for utterance in utterances:
        try:
            yield read_clip(utterance, how)
        except (UserError, OSError) as error:
            yield Bad(utterance.id, utterance.path, str(error))


def read_clip(utterance: Utterance, how: Reading) -> Clip:
    """Decode one utterance.

    Raises:
        UserError: its file is missing, empty, damaged, holds NaN, or is at another rate where that is refused.
    """
    _, path, start, end, _, _ = utterance
    info, samples = audio.read_with_info(path, start, end, how.sample_rate, how.channel, how.long)
    notes = []
    if info.sample_rate != how.sample_rate:
        if not how.resample:
            raise UserError(f"{path}: is at {info.sample_rate} Hz, expected {how.sample_rate} Hz, and resampling was ruled out.")
        notes.append(f"resampled from {info.sample_rate} to {how.sample_rate} Hz")
    if info.channels > 1:
        notes.append(
            f"of {info.channels} channels, {'their mean' if how.channel == 'mean' else f'channel {how.channel}'} was taken"
        )
    if samples is not None:
        seconds = samples.shape[1] / how.sample_rate
    else:
        seconds = (info.duration if end is None else min(end, info.duration)) - start
    return Clip(utterance, how, seconds, None if samples is None else samples[0], tuple(notes))


def gather(clips: Iterable[Clip | Bad], seconds: float) -> Iterator[list[Clip | Bad]]:
    """Gather clips in order until they hold more than `seconds` of signal in memory, or are many."""
    gathered: list[Clip | Bad] = []
    held = 0.0
    for clip in clips:
        gathered.append(clip)
        held += clip.seconds if isinstance(clip, Clip) and clip.signal is not None else 0.0
        if held > seconds or len(gathered) >= 4096:
            yield gathered
            gathered, held = [], 0.0
    if gathered:
        yield gathered


def batches(clips: Iterable[Clip], samples: int) -> Iterator[list[Clip]]:
    """Cut clips that are in memory, shortest first, into batches of at most `samples` with their padding (or one clip)."""
    batch: list[Clip] = []
    for clip in sorted(clips, key=len):
        if batch and len(clip) * (len(batch) + 1) > samples:
            yield batch
            batch = []
        batch.append(clip)
    if batch:
        yield batch


def padded(clips: list[Clip]) -> tuple[Float[torch.Tensor, "batch samples"], Int[torch.Tensor, " batch"]]:
    """Clips that are in memory as a zero-padded batch, and their lengths."""
    signals = [torch.from_numpy(clip.signal) for clip in clips]
    return torch.nn.utils.rnn.pad_sequence(signals, batch_first=True), torch.tensor([len(signal) for signal in signals])


def ahead(items: Iterable[Item], depth: int = 1) -> Iterator[Item]:
    """Run an iterator in a thread of its own, at most `depth` items ahead of what is asked for; its errors come out here."""
    waiting: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(kind: str, what: Any) -> bool:
        while not stop.is_set():
            try:
                waiting.put((kind, what), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def produce() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:
            put("error", error)

    thread = threading.Thread(target=produce, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, what = waiting.get()
            if kind == "error":
                raise what
            if kind == "end":
                return
            yield what
    finally:
        stop.set()
        thread.join()
