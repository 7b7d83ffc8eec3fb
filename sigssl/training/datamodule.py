"""The data of a run: datasets from the options, loaders that time how long they are waited for, and the place in the order."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from sigssl.config import describe
from sigssl.data.batching import Batching, Planned, Position, ShardBatching
from sigssl.data.datadir import DataDir
from sigssl.data.dataset import Crop, FrameDataset, Loaded, PieceDataset, SignalDataset
from sigssl.data.nights import EpochDataset
from sigssl.data.store import StoreInfo
from sigssl.errors import UserError
from sigssl.training.options import DataOptions
from sigssl.types import Encoder, EpochEncoder

T = TypeVar("T")


class DataModule(LightningDataModule):
    """Training and validation batches of one rank.

    Args:
        train: training set.
        valid: validation set, None for none.
        options: batching; `batch_seconds` as derived for this run.
        seed: of the order.
        world: number of ranks.
        rank: this one.
        workers: reading processes; 0 reads in this process.
        pin: keep batches in page-locked memory (for a CUDA device).
    """

    def __init__(
        self,
        train: PieceDataset,
        valid: PieceDataset | None,
        options: DataOptions,
        *,
        seed: int,
        world: int = 1,
        rank: int = 0,
        workers: int = 0,
        pin: bool = False,
    ) -> None:
        super().__init__()
        self.train, self.valid, self.rank, self.world = train, valid, rank, world
        self.workers, self.pin = workers, pin
        self.batching = _batching(train, options, world, seed)
        self.valid_batching = None if valid is None else _batching(valid, options, world, seed)
        self.position = Position()
        self.waited = 0.0

    def train_dataloader(self) -> Iterable[Loaded]:
        """Batches from the current position on, without end."""
        return TimedLoader(self, self._loader(self.train, self.batching.stream(self.rank, self.position), self.workers))

    def valid_batches(self) -> Iterable[Loaded]:
        """The validation set once, always in the same batches and crops."""
        assert self.valid is not None and self.valid_batching is not None
        planned = islice(self.valid_batching.stream(self.rank), self.valid_batching.steps(0))
        return self._loader(self.valid, planned, min(self.workers, 2))

    def transfer_batch_to_device(self, batch: Loaded, device: torch.device, dataloader_idx: int) -> Loaded:
        """Move a loaded batch."""
        return batch.to(device)

    def done(self, planned: Planned) -> None:
        """Note that the batch at this position has been trained on."""
        self.position = self.batching.after(planned.position)

    def state_dict(self) -> dict[str, Any]:
        """Where the order is to go on, and what it depends on."""
        return {"epoch": self.position.epoch, "step": self.position.step, "world": self.world, "items": len(self.train)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a checkpoint stopped.

        Raises:
            UserError: the training data have another number of items than when it was written.
        """
        if state_dict["items"] != len(self.train):
            raise UserError(
                f"the training data have {len(self.train)} items, the checkpoint was made with {state_dict['items']}: the order of "
                f"batches would not be the same. Restore the data, or start anew with --resume never."
            )
        step = state_dict["step"] * state_dict["world"] // self.world  # with other ranks: the same share of the epoch
        self.position = Position(state_dict["epoch"], min(step, self.batching.steps(state_dict["epoch"]) - 1))

    def _loader(self, data: PieceDataset, planned: Iterable[Planned], workers: int) -> DataLoader[Loaded]:
        return DataLoader(
            data,
            batch_size=None,
            sampler=_Order(planned),
            collate_fn=_unchanged,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            pin_memory=self.pin,
            worker_init_fn=_leave_signals_to_the_parent,
        )


class TimedLoader:
    """A loader that adds up the seconds that `next` took into `module.waited`."""

    def __init__(self, module: DataModule, loader: DataLoader[Loaded]) -> None:
        self.module, self.loader = module, loader

    def __iter__(self) -> Iterator[Loaded]:
        batches = iter(self.loader)
        while True:
            begin = time.perf_counter()
            try:
                loaded = next(batches)
            except StopIteration:
                return
            self.module.waited += time.perf_counter() - begin
            yield loaded


class _Order(torch.utils.data.Sampler[Planned]):
    """Planned batches as the sampler of a DataLoader."""

    def __init__(self, planned: Iterable[Planned]) -> None:
        self.planned = planned

    def __iter__(self) -> Iterator[Planned]:
        return iter(self.planned)


def open_dataset(path: str, feats: str | None, options: DataOptions, encoder: Encoder, seed: int) -> PieceDataset:
    """The dataset of a data directory: epochs of stored nights or frames where a store is named, else signals.

    Args:
        path: data directory.
        feats: feature store, or None.
        options: lengths and channel.
        encoder: says the sample rate; its `features` is what a store of frames must have been made with.
        seed: of the crops.

    Raises:
        UserError: nothing to read there, nothing long enough, or features made otherwise.
    """
    directory = DataDir.read(Path(path))
    crop = Crop(options.crop_seconds, options.chunk_seconds, options.min_seconds, seed)
    if feats is None:
        data: PieceDataset = SignalDataset(directory, encoder.sample_rate, crop, options.channel)
    elif isinstance(plain := cast(object, encoder), EpochEncoder):
        data = open_nights(directory, feats, options, plain)
    else:
        data = FrameDataset(directory, Path(feats), crop)
        check_store(data.info, encoder, feats)
    if len(data) == 0:
        why = f"; the first: {data.failed[0].reason}" if data.failed else f" of at least data.min_seconds = {options.min_seconds} s"
        raise UserError(f"{path}: holds no usable utterance{why}.")
    return data


def open_nights(directory: DataDir, feats: str, options: DataOptions, encoder: EpochEncoder) -> EpochDataset:
    """The epochs of stored nights, scaled as the encoder wants them.

    Raises:
        UserError: another rate or number of channels than the encoder takes.
    """
    nights = EpochDataset(directory, Path(feats), encoder.epoch_seconds, getattr(encoder, "scaler", None), options.channels)
    if nights.info.sample_rate != encoder.sample_rate:
        raise UserError(
            f"{feats}: signals at {nights.info.sample_rate} Hz, the encoder takes {encoder.sample_rate} Hz: store them at that, "
            f"or set the encoder's sample_rate."
        )
    if len(nights.picked) != encoder.channels:
        raise UserError(
            f"{feats}: {len(nights.picked)} channels ({', '.join(nights.picked)}), the encoder takes {encoder.channels}: name "
            f"those to take, data.channels='[{nights.picked[0]}]', or set the encoder's channels."
        )
    return nights


def check_store(info: StoreInfo, encoder: Encoder, where: str) -> None:
    """Refuse features that this encoder's own front end would not make.

    Raises:
        UserError: naming each setting that differs.
    """
    features = getattr(encoder, "features", None)
    if features is None:
        raise UserError(f"{where}: this encoder takes signals, not stored frames; leave data.feats out.")
    if info.config.get("cmvn") == "speaker":
        raise UserError(
            f"{where}: normalised by the statistics of each speaker, which an encoder does not have when it is given a signal; "
            "compute the features with --cmvn global, utterance or none."
        )
    shift = features.hop / features.sample_rate
    made = info.config.get("features")  # absent from a store of other origin: then only its shape can be compared
    theirs = replace(info, unit="", channels=[], config={} if made is None else {"features": made})
    ours = StoreInfo(
        info.kind, features.dim, shift, features.sample_rate, config={} if made is None else {"features": describe(features)}
    )
    theirs.check(ours, where, "the encoder's features")


def sized(options: DataOptions, data: PieceDataset) -> DataOptions:
    """The options with `batch_epochs`, where it is given, as seconds.

    Raises:
        UserError: it is given for other data than stored nights.
    """
    if options.batch_epochs is None:
        return options
    if not isinstance(data, EpochDataset):
        raise UserError("data.batch_epochs is for stored nights (data.feats); give data.batch_seconds.")
    return replace(options, batch_seconds=options.batch_epochs * data.rows * data.unit, max_items=options.batch_epochs)


def worker_count(wanted: int | None, devices: int) -> int:
    """Reading processes per device: as asked for, else one per spare core, 8 at the most."""
    if wanted is not None:
        return wanted
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, cores // max(1, devices) - 1))


def _batching(data: PieceDataset, options: DataOptions, world: int, seed: int) -> Batching:
    settings = (options.batch_seconds, options.max_items, options.padding, world, seed)
    if data.shards is not None:
        return ShardBatching(data.durations, data.shards, *settings, window=options.window)
    return Batching(data.durations, *settings)


def _leave_signals_to_the_parent(worker: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach a whole process group; the parent still needs its readers to end its update."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)


def _unchanged(loaded: T) -> T:
    return loaded
