"""Checkpoints for resuming: written whole, read only when whole, the one before kept; and a signal that asks for one."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import threading
import zipfile
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from sigssl.data.io import whole
from sigssl.errors import UserError

log = logging.getLogger(__name__)
LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"


class WholeCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, written beside their place, brought to the disk, then renamed; read without pickled code."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`, whole."""
        with whole(path) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """Read tensors and plain values; any other object in the file is an error."""
        loaded: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        return loaded


class Keeper:
    """Keeps `last.ckpt`, the `previous.ckpt` and the `best.ckpt` of a run.

    Args:
        folder: exp/<name>/checkpoints.

    Attributes:
        best: lowest validation loss so far.
        best_step: its update.
        asked: the signal that asks to save and stop, once it has come.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.best = float("inf")
        self.best_step = 0
        self.asked: int | None = None
        self._handlers: dict[int, Any] = {}

    def save(self, trainer: Trainer) -> None:
        """Write last.ckpt; the one that was there becomes previous.ckpt. All ranks call this."""
        last = self.folder / LAST
        if trainer.is_global_zero and last.exists():
            last.replace(self.folder / PREVIOUS)
        trainer.save_checkpoint(last)

    def keep_best(self, trainer: Trainer, loss: float) -> None:
        """Write best.ckpt where `loss` is the lowest so far. All ranks call this with the same loss."""
        if loss < self.best:
            self.best, self.best_step = loss, trainer.global_step
            trainer.save_checkpoint(self.folder / BEST)

    @contextlib.contextmanager
    def signals(self) -> Any:
        """Within: the first SIGTERM or SIGINT sets `asked`; a second SIGINT interrupts as usual."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT)}
        self.listen()
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)

    def listen(self) -> None:
        """Take the signals over (Lightning sets its own before training starts)."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._ask)
            signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = number
        log.warning("%s: saving at the end of this update, then stopping", signal.Signals(number).name)


def find_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint for resuming: last.ckpt, else previous.ckpt; None where neither exists.

    Raises:
        UserError: there are some, and none is whole.
    """
    broken: list[str] = []
    for path in (folder / LAST, folder / PREVIOUS):
        if path.exists():
            reason = damage(path)
            if reason is None:
                if broken:
                    log.warning("%s; going on from %s", "; ".join(broken), path)
                return path
            broken.append(f"{path} is not whole ({reason})")
    if broken:
        raise UserError(f"{'; '.join(broken)}. Start anew with --resume never, or name a checkpoint with --resume PATH.")
    return None


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint file, by the checksums inside it; None where it is whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        return str(error)
    return None if bad is None else f"checksum of {bad} differs"


def forget(out: Path) -> None:
    """Remove what an earlier run has left in `out`: checkpoints, records, the exported encoder."""
    for name in ("checkpoints", "encoder", "tensorboard", "bad"):
        shutil.rmtree(out / name, ignore_errors=True)
    for file in (*out.glob("quarantine*.tsv"), out / "metrics.jsonl", out / "metrics.json", out / "run.json"):
        file.unlink(missing_ok=True)
