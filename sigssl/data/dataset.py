"""What a batch is read from: pieces of recordings, or of matrices in a feature store, cropped at positions that follow from a seed.

A piece that cannot be read is replaced by its neighbour in length and reported with the batch, so that one bad file stops nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sigssl.data import audio, matrix
from sigssl.data.ark import read_scp
from sigssl.data.batching import Planned, derive
from sigssl.data.datadir import DataDir
from sigssl.data.io import read_table
from sigssl.data.paths import find
from sigssl.data.store import StoreInfo
from sigssl.data.tar import tar_of
from sigssl.errors import UserError
from sigssl.types import Batch

ATTEMPTS = 16  # neighbours tried in place of an unreadable piece


class Failure(NamedTuple):
    """A piece that could not be read: its id, file, and why."""

    id: str
    path: str
    reason: str


class Loaded(NamedTuple):
    """A batch as a worker read it.

    Attributes:
        planned: where it stands in the order.
        batch: the padded batch.
        failed: pieces that others stand in for.
        seconds: of signal in it, without padding.
    """

    planned: Planned
    batch: Batch
    failed: tuple[Failure, ...]
    seconds: float

    def to(self, device: torch.device | str) -> Loaded:
        """The same with its batch on `device`."""
        return self._replace(batch=self.batch.to(device))


class Piece(NamedTuple):
    """A part of a recording, or of a stored matrix: from `start` to `stop`, in seconds of the file, or in rows."""

    id: str
    path: str
    start: float
    stop: float


@dataclass(frozen=True)
class Crop:
    """How long recordings are brought to a length.

    Attributes:
        crop_seconds: a window of this length is drawn anew each epoch from what is longer; None keeps the whole.
        chunk_seconds: what is longer is first cut into equal pieces of at most this length, each an item of every epoch; None
            leaves recordings whole.
        min_seconds: what is shorter is left out.
        seed: of the positions; each follows from (seed, epoch, id), whatever the batch, rank or worker.
    """

    crop_seconds: float | None = None
    chunk_seconds: float | None = None
    min_seconds: float = 0.0
    seed: int = 0

    def place(self, epoch: int, id: str) -> float:
        """Where the crop of an item begins, as a share of the room there is, in [0, 1)."""
        return derive(self.seed, "crop", epoch, id) / 2.0**63


class PieceDataset(Dataset[Loaded]):
    """Reads planned batches; what a piece is, the subclasses say.

    Args:
        pieces: all items, positions in `unit`.
        crop: lengths.
        unit: seconds per step of `start` and `stop` (1 for seconds, the frame shift for rows).

    Attributes:
        durations: seconds of each item as it comes into a batch.
        shards: where all items lie in tar files (lhotse Shar): of each item the number of its file, in reading order; else None.
        failed: recordings that could not even be listed.
    """

    def __init__(self, pieces: Iterable[Piece], crop: Crop, unit: float, failed: Iterable[Failure] = ()) -> None:
        kept = [piece for piece in pieces if (piece.stop - piece.start) * unit >= max(crop.min_seconds, 1e-9)]
        if all(tar_of(piece.path) for piece in kept):
            kept.sort(key=lambda piece: (piece.path, piece.start))  # places in tar files sort in the order of reading
        cut = [part for piece in kept for part in _chunks(piece, crop.chunk_seconds, unit)]
        self.crop, self.unit, self.failed = crop, unit, list(failed)
        # flat arrays, not a list of tuples: forked workers then share the index instead of copying it object by object
        self._ids = np.array([piece.id.encode() for piece in cut], dtype=np.bytes_)
        self._paths = np.array([piece.path.encode() for piece in cut], dtype=np.bytes_)
        self._spans = np.array([(piece.start, piece.stop) for piece in cut], dtype=np.float64).reshape(-1, 2)
        seconds = (self._spans[:, 1] - self._spans[:, 0]) * unit
        self.durations = seconds if crop.crop_seconds is None else np.minimum(seconds, crop.crop_seconds)
        self.shards = _shards([piece.path for piece in cut])
        self._order = np.argsort(self.durations, kind="stable")
        self._rank = np.argsort(self._order, kind="stable")

    def __len__(self) -> int:
        return len(self._ids)

    def piece(self, item: int) -> Piece:
        """Item number `item`."""
        start, stop = self._spans[item]
        return Piece(self._ids[item].decode(), self._paths[item].decode(), float(start), float(stop))

    def read(self, piece: Piece, epoch: int) -> Tensor:
        """Read a piece, cropped for `epoch`: a signal [C, S], or frames [T, F]."""
        raise NotImplementedError

    def collate(self, items: list[tuple[str, Tensor]]) -> Batch:
        """Pad items to a batch."""
        raise NotImplementedError

    def __getitem__(self, planned: Planned) -> Loaded:
        failed: list[Failure] = []
        items = [self._read_or_replace(item, planned.position.epoch, failed) for item in planned.items]
        batch = self.collate(items)
        per_step = self.unit if batch.is_frames else 1.0 / batch.sample_rate
        return Loaded(planned, batch, tuple(failed), float(batch.lengths.sum()) * per_step)

    def _read_or_replace(self, item: int, epoch: int, failed: list[Failure]) -> tuple[str, Tensor]:
        rank = int(self._rank[item])
        neighbours = chain(range(rank, len(self)), range(rank - 1, -1, -1))  # by length, so that padding stays as planned
        for place in islice(neighbours, ATTEMPTS):
            piece = self.piece(int(self._order[place]))
            try:
                return piece.id, self.read(piece, epoch)
            except UserError as error:
                failed.append(Failure(piece.id, piece.path, str(error)))
        raise UserError(f"{len(failed)} utterances in a row cannot be read, the last: {failed[-1].reason}")


class SignalDataset(PieceDataset):
    """Signals, read from audio files.

    Args:
        data: the utterances.
        sample_rate: what recordings are resampled to, in hertz.
        crop: lengths.
        channel: an index, "mean" or "all".
    """

    def __init__(self, data: DataDir, sample_rate: int, crop: Crop, channel: int | Literal["mean", "all"] = 0) -> None:
        self.sample_rate, self.channel = sample_rate, channel
        pieces, failed = _listed(data)
        super().__init__(pieces, crop, 1.0, failed)

    def read(self, piece: Piece, epoch: int) -> Tensor:
        """A signal [C, S]."""
        start, stop = piece.start, piece.stop
        wanted = self.crop.crop_seconds
        if wanted is not None and stop - start > wanted:
            start += self.crop.place(epoch, piece.id) * (stop - start - wanted)
            stop = start + wanted
        samples = audio.read(piece.path, start, stop, self.sample_rate, self.channel)
        longest = samples.shape[1] if wanted is None else round(wanted * self.sample_rate)
        if samples.shape[1] == 0:
            raise UserError(f"{piece.path}: utterance {piece.id!r} holds no sample at {self.sample_rate} Hz.")
        return torch.from_numpy(samples[:, :longest])

    def collate(self, items: list[tuple[str, Tensor]]) -> Batch:
        """Signals [B, C, S]."""
        ids, signals = zip(*items, strict=True)
        channels = {int(signal.shape[0]) for signal in signals}
        if len(channels) > 1:
            raise UserError(
                f"recordings with {sorted(channels)} channels in one batch ({ids[0]!r} ...): choose one channel, or 'mean'."
            )
        lengths = torch.tensor([signal.shape[1] for signal in signals])
        x = torch.zeros(len(items), channels.pop(), int(lengths.max()))
        for row, signal in zip(x, signals, strict=True):
            row[:, : signal.shape[1]] = signal
        return Batch(x, lengths, ids, False, self.sample_rate)


class FrameDataset(PieceDataset):
    """Frames, read from a feature store.

    Args:
        data: the utterances.
        store: folder with feats.scp and feats.json, as `sigssl features` writes it.
        crop: lengths.

    Raises:
        UserError: the store lacks utterances of `data`, or does not say how it was made.
    """

    def __init__(self, data: DataDir, store: Path, crop: Crop) -> None:
        self.info = StoreInfo.read(store)
        if not self.info.frame_shift:
            raise UserError(f"{store}: holds no frames (its feats.json has no frame_shift); it cannot be trained on.")
        scp = read_scp(store / "feats.scp")
        ids = data.ids()
        missing = [id for id in ids if id not in scp]
        if missing:
            raise UserError(
                f"{store}/feats.scp: lacks {len(missing)} of the {len(ids)} utterances of {data.path}, the first {missing[0]!r}. "
                f"Compute the features of that directory, or take a subset."
            )
        places = {id: find(scp[id], store, by_name=True) for id in ids}
        table = store / "utt2num_frames"
        counted = {id: int(count) for id, count in read_table(table).items()} if table.exists() else {}
        rows, failed = _measured(
            {id: place for id, place in places.items() if id not in counted}, lambda place: float(matrix.shape(place)[0])
        )
        rows |= {id: float(count) for id, count in counted.items() if id in places}
        super().__init__((Piece(id, places[id], 0.0, rows[id]) for id in ids if id in rows), crop, self.info.frame_shift, failed)

    def read(self, piece: Piece, epoch: int) -> Tensor:
        """Frames [T, F]."""
        start, stop = round(piece.start), round(piece.stop)
        wanted = stop - start if self.crop.crop_seconds is None else max(1, round(self.crop.crop_seconds / self.unit))
        if stop - start > wanted:
            start += int(self.crop.place(epoch, piece.id) * (stop - start - wanted + 1))
            stop = start + wanted
        return torch.from_numpy(matrix.read_rows(piece.path, start, stop))

    def collate(self, items: list[tuple[str, Tensor]]) -> Batch:
        """Frames [B, T, F]."""
        ids, frames = zip(*items, strict=True)
        lengths = torch.tensor([len(frame) for frame in frames])
        return Batch(torch.nn.utils.rnn.pad_sequence(list(frames), batch_first=True), lengths, ids, True, self.info.sample_rate)


def _shards(paths: Sequence[str]) -> np.ndarray | None:
    """The number of the tar file of each place; None where not all are in tar files."""
    tars = [tar_of(path) for path in paths]
    if not tars or not all(tars):
        return None
    number = {tar: k for k, tar in enumerate(dict.fromkeys(tars))}
    return np.array([number[tar] for tar in tars])


def _chunks(piece: Piece, seconds: float | None, unit: float) -> list[Piece]:
    """Equal parts of at most `seconds`, named `id#0`, `id#1` ...; the piece itself where it is short enough."""
    length = piece.stop - piece.start
    parts = 1 if seconds is None else math.ceil(length * unit / seconds - 1e-9)
    if parts <= 1:
        return [piece]
    edges = np.linspace(piece.start, piece.stop, parts + 1)
    if unit != 1.0:
        edges = np.round(edges)  # rows
    return [Piece(f"{piece.id}#{k}", piece.path, float(edges[k]), float(edges[k + 1])) for k in range(parts)]


def _listed(data: DataDir) -> tuple[list[Piece], list[Failure]]:
    """Every utterance with its end; headers are read where neither utt2dur nor segments tell."""
    utterances = data.utterances()
    unknown = {u.id: u.path for u in utterances if u.end is None and u.duration is None}
    measured, failed = _measured(unknown, lambda path: audio.info(path).duration)
    pieces = []
    for u in utterances:
        stop = u.end
        if stop is None:
            stop = measured.get(u.id) if u.duration is None else u.start + u.duration
        if stop is not None and stop > u.start:
            pieces.append(Piece(u.id, u.path, u.start, stop))
    return pieces, failed


def _measured(places: dict[str, str], measure: Callable[[str], float]) -> tuple[dict[str, float], list[Failure]]:
    """Measure many files by their headers, with threads since the disk is what is waited for."""

    def one(entry: tuple[str, str]) -> float | Failure:
        try:
            return measure(entry[1])
        except UserError as error:
            return Failure(entry[0], entry[1], str(error))

    with ThreadPoolExecutor(8) as pool:
        results = dict(zip(places, pool.map(one, places.items()), strict=True))
    failed = [result for result in results.values() if isinstance(result, Failure)]
    return {key: result for key, result in results.items() if not isinstance(result, Failure)}, failed
