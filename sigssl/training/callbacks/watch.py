"""The callback of a run: what happens after each update, in order: measure, validate, record, save, stop if asked."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from sigssl.data.dataset import Loaded
from sigssl.data.nights import EpochDataset
from sigssl.training.callbacks import meters, neighbours
from sigssl.training.callbacks.guard import Guard
from sigssl.training.callbacks.keeper import Keeper
from sigssl.training.callbacks.metrics import Row, Sink, sinks
from sigssl.training.callbacks.progress import Progress
from sigssl.training.datamodule import DataModule
from sigssl.training.optim import multiplier
from sigssl.training.options import TrainerOptions
from sigssl.training.task import Task

log = logging.getLogger(__name__)


class Watch(Callback):
    """Watches a run.

    Args:
        out: run folder.
        options: the intervals.
        data: where the order stands.
        guard: against bad data.
        keeper: of checkpoints.

    Attributes:
        hours: of signal trained on so far, over all ranks.
        row: the latest of every measurement.
    """

    def __init__(self, out: Path, options: TrainerOptions, data: DataModule, guard: Guard, keeper: Keeper) -> None:
        self.out, self.options, self.data, self.guard, self.keeper = out, options, data, guard, keeper
        self.hours = 0.0
        self.row: Row = {}
        self._sinks: list[Sink] = []

    def state_dict(self) -> dict[str, Any]:
        """What goes on with the run."""
        kept = {"best": self.keeper.best, "best_step": self.keeper.best_step}
        return {"hours": self.hours, "skipped": self.guard.skipped, "row": dict(self.row), **kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up :meth:`state_dict`."""
        self.hours, self.guard.skipped = state_dict["hours"], state_dict["skipped"]
        self.row = dict(state_dict["row"])
        self.keeper.best, self.keeper.best_step = state_dict["best"], state_dict["best_step"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals, which Lightning has just taken, and open the records."""
        self.keeper.listen()
        first = trainer.is_global_zero
        self._sinks = sinks(self.out, trainer.global_step) if first else []
        self._progress = Progress(self.options.updates, trainer.global_step, self.options.progress, first)
        self._begin = self._logged = time.perf_counter()
        self.guard.failures(self.data.train.failed)
        self.data.waited = 0.0

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Loaded, batch_idx: int) -> None:
        """After each micro-batch; all but the book-keeping waits for the end of the update."""
        assert isinstance(pl_module, Task)
        self.data.done(batch.planned)
        self.guard.failures(batch.failed)
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        step = trainer.global_step
        last = step >= self.options.updates
        meeting = last or step % self.options.log_every == 0
        stop = self._asked(trainer, meeting)
        save = last or stop or step % self.options.save_every == 0
        self._progress.advance()
        row: Row = {}
        if meeting or save:  # no sum may be open in a checkpoint
            row |= self._running(trainer, pl_module)
        if last or step % self.options.meter_every == 0:
            row |= self._measured(trainer, pl_module, batch)
        if self.data.valid is not None and (last or step % self.options.validate_every == 0):
            row |= pl_module.validate(self.data.valid_batches)
            row |= self._neighbours(trainer, pl_module)
            self._logged, self.data.waited = time.perf_counter(), 0.0  # validation is no part of the training speed
        if row:
            self._record({"step": float(step), "epoch": self._epoch(), **row})
        if "valid_loss" in row:
            self.keeper.keep_best(trainer, row["valid_loss"])
        if save:
            self.keeper.save(trainer)
        trainer.should_stop = trainer.should_stop or stop

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the records here too; Lightning tears nothing down after an error."""
        self.teardown(trainer, pl_module, "fit")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the records."""
        for sink in self._sinks:
            sink.close()
        if hasattr(self, "_progress"):
            self._progress.close()

    def _running(self, trainer: Trainer, task: Task) -> Row:
        """Means since the last line; this is where the processor waits for the device."""
        norm, skipped = task.tally.updates()
        sums = torch.tensor([task.tally.seconds, self.data.waited], device=task.device)
        seconds, waited = task.reduced(sums).tolist()
        means = task.tally.means(task.reduced, task.device)
        now = time.perf_counter()
        spent, self._logged, self.data.waited = now - self._logged, now, 0.0
        self.hours += seconds / 3600
        self.guard.updates(skipped)
        return {
            **means,
            "grad_norm": norm,
            "lr": task.options.lr * multiplier(task.options, task.updates)(trainer.global_step),
            "skipped": float(self.guard.skipped),
            "hours": self.hours,
            "hours_per_second": seconds / 3600 / spent,
            "data_wait": min(1.0, waited / trainer.world_size / spent),
            "seconds": now - self._begin,
        }

    def _measured(self, trainer: Trainer, task: Task, batch: Loaded) -> Row:
        if not trainer.is_global_zero:
            return {}
        with trainer.precision_plugin.forward_context():
            found = meters.measure(task.method.encoder, batch.batch)
        if meters.collapsed(found):
            log.warning("update %d: the encoder's states hardly differ from one another: %s", trainer.global_step, found)
        return found

    def _neighbours(self, trainer: Trainer, task: Task) -> Row:
        """On the first rank, where both sets are nights."""
        train, valid = self.data.train, self.data.valid
        if not (trainer.is_global_zero and isinstance(train, EpochDataset) and isinstance(valid, EpochDataset)):
            return {}
        with trainer.precision_plugin.forward_context():
            return neighbours.measure(task.method.encoder, train, valid)

    def _record(self, row: Row) -> None:
        self.row |= row
        for sink in self._sinks:
            sink.write(row)
        self._progress.show(self.row)

    def _epoch(self) -> float:
        epoch, step = self.data.position
        return epoch + step / self.data.batching.steps(epoch)

    def _asked(self, trainer: Trainer, meeting: bool) -> bool:
        """Whether to stop: at once in a single process; several agree where they meet anyway, at a line of the record."""
        if trainer.world_size == 1:
            return self.keeper.asked is not None
        return meeting and bool(trainer.strategy.reduce_boolean_decision(self.keeper.asked is not None, all=False))
