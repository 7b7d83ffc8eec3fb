"""Epochs of stored nights: an epoch is a slice of rows, read by position; scored or not, each is an item.

A batch says of each epoch which recording it is cut from and where it stands there. Signals are scaled by the statistics of
their whole recording, taken once when the set is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from sigssl.data import matrix
from sigssl.data.ark import read_scp
from sigssl.data.batching import derive
from sigssl.data.datadir import DataDir
from sigssl.data.dataset import Crop, Failure, Piece, PieceDataset
from sigssl.data.scaling import RobustScaler
from sigssl.data.stages import to_int
from sigssl.data.store import StoreInfo
from sigssl.errors import UserError
from sigssl.types import Batch


class EpochDataset(PieceDataset):
    """Epochs [C, S] of the nights of a data directory, read from a store of signals.

    Args:
        data: the nights; their `stages`, where there are any, become `labels`.
        store: folder with feats.scp and feats.json of kind "signal": [samples, channels].
        epoch_seconds: length of an epoch.
        scaler: of whole recordings; None: signals stay as they are stored.
        channels: names of the stored channels to take, in this order; None: all.

    Attributes:
        info: of the store.
        picked: names of the channels.
        recordings: ids of the nights that could be read, sorted; a batch's `recording` is :func:`recording_number` of the id.
        failed: nights that could not be read.

    Raises:
        UserError: the store lacks nights of `data`, holds no signals, or lacks a channel.
    """

    def __init__(
        self,
        data: DataDir,
        store: Path,
        epoch_seconds: float,
        scaler: RobustScaler | None,
        channels: Sequence[str] | None = None,
    ) -> None:
        self.info = StoreInfo.read(store)
        if self.info.kind != "signal":
            raise UserError(f"{store}: holds {self.info.kind}, not signals; 'sigssl features' with an EEG config stores nights.")
        self.rows = round(epoch_seconds * self.info.sample_rate)
        self.picked, self._columns = pick_channels(self.info, channels, str(store))
        scp, ids = read_scp(store / "feats.scp"), data.ids()
        missing = [id for id in ids if id not in scp]
        if missing:
            raise UserError(
                f"{store}/feats.scp: lacks {len(missing)} of the {len(ids)} nights of {data.path}, the first {missing[0]!r}. "
                f"Store them with 'sigssl features', or take a subset."
            )
        self.scaler = scaler
        with ThreadPoolExecutor(4) as pool:
            opened = list(pool.map(self._open, ids, (scp[id] for id in ids)))
        failed = [found for found in opened if isinstance(found, Failure)]
        nights = [found for found in opened if isinstance(found, _Night)]
        self.recordings = [night.id for night in nights]
        self._statistics = {night.id: night.statistics for night in nights}
        pieces = (
            Piece(f"{night.id}#{epoch}", night.place, epoch * self.rows, (epoch + 1) * self.rows)
            for night in nights
            for epoch in range(night.epochs)
        )
        super().__init__(pieces, Crop(None), 1.0 / self.info.sample_rate, failed)
        self._interleave([night.epochs for night in nights])
        self.labels = self._labels(data, [night.epochs for night in nights])

    def read(self, piece: Piece, epoch: int) -> Tensor:
        """An epoch [C, S], scaled."""
        rows = matrix.read_rows(piece.path, round(piece.start), round(piece.stop))
        signal = torch.from_numpy(np.ascontiguousarray(rows[:, self._columns].T))
        if self.scaler is None:
            return signal
        return self.scaler.scale(signal, self._statistics[piece.id.rpartition("#")[0]])

    def collate(self, items: list[tuple[str, Tensor]]) -> Batch:
        """Epochs [B, C, S]."""
        ids, signals = zip(*items, strict=True)
        places = [id.rpartition("#") for id in ids]
        recording = torch.tensor([recording_number(night) for night, _, _ in places])
        epoch = torch.tensor([int(number) for _, _, number in places])
        lengths = torch.full((len(ids),), self.rows)
        return Batch(torch.stack(signals), lengths, ids, False, self.info.sample_rate, recording, epoch)

    def epochs(self, items: Sequence[int]) -> Tensor:
        """Some epochs [N, C, S]."""
        return torch.stack([self.read(self.piece(item), 0) for item in items])

    def _open(self, id: str, place: str) -> _Night | Failure:
        """Epochs and statistics of a night; reading it whole also shows whether it can be read."""
        try:
            signal = matrix.read_matrix(place)[:, self._columns]
            statistics = (self.scaler or RobustScaler()).statistics(torch.from_numpy(np.ascontiguousarray(signal.T)))
        except UserError as error:
            return Failure(id, place, str(error))
        return _Night(id, place, len(signal) // self.rows, statistics)

    def _interleave(self, epochs: list[int]) -> None:
        """What stands in for an unreadable epoch is the same epoch of another night: its own may lie in a damaged file."""
        night = np.repeat(np.arange(len(epochs)), epochs)
        place = np.concatenate([np.arange(count) for count in epochs] or [np.zeros(0, int)])
        self._order = np.lexsort((night, place))
        self._rank = np.argsort(self._order, kind="stable")

    def _labels(self, data: DataDir, epochs: list[int]) -> Int64[np.ndarray, " items"]:
        """Stage of each item, -1 where it is unscored or the night has no stages for epochs of this length."""
        labels = np.full(sum(epochs), -1, dtype=np.int64)
        if data.epoch_length != self.rows * self.unit:  # stages of other epochs than these
            return labels
        begin = 0
        for id, count in zip(self.recordings, epochs, strict=True):
            stages = to_int(data.stages.get(id) or [])[:count]
            labels[begin : begin + len(stages)] = stages
            begin += count
        return labels


class _Night:
    """A night that can be read."""

    def __init__(self, id: str, place: str, epochs: int, statistics: Tensor) -> None:
        self.id, self.place, self.epochs, self.statistics = id, place, epochs, statistics


def pick_channels(info: StoreInfo, wanted: Sequence[str] | None, where: str) -> tuple[list[str], list[int]]:
    """Names and columns of the channels to take.

    Raises:
        UserError: a channel that the store lacks.
    """
    names = info.channels or [str(column) for column in range(info.dim)]
    if wanted is None:
        return names, list(range(info.dim))
    absent = [name for name in wanted if name not in names]
    if absent:
        raise UserError(f"{where}: has no channel {absent[0]!r}; it holds {', '.join(names)}. Name some of these in data.channels.")
    return list(wanted), [names.index(name) for name in wanted]


def recording_number(id: str) -> int:
    """A number for a recording that is the same in every process."""
    return derive(0, id)
