"""A pretraining run from settings to an exported encoder."""

from __future__ import annotations

import logging
import math
import signal
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Trainer

from sigssl.data.io import read_json, write_json
from sigssl.errors import UserError
from sigssl.methods.base import Method
from sigssl.training.callbacks.guard import Guard
from sigssl.training.callbacks.keeper import Keeper, WholeCheckpointIO, damage, find_checkpoint, forget
from sigssl.training.callbacks.watch import Watch
from sigssl.training.checkpoint import ENCODER, save_encoder, versions
from sigssl.training.datamodule import DataModule, open_dataset, sized, worker_count
from sigssl.training.options import DataOptions, OptimOptions, TrainerOptions
from sigssl.training.precision import resolve
from sigssl.training.run import differences, encoder_meta, fingerprint, read_settings, settings, write_settings
from sigssl.training.task import Task
from sigssl.types import Encoder

log = logging.getLogger(__name__)


def pretrain(
    method: Method,
    data: DataOptions,
    optim: OptimOptions,
    trainer: TrainerOptions,
    out: str | Path,
    resume: str = "auto",
    say: Callable[[str], None] = log.info,
) -> dict[str, Any]:
    """Train a method; leave metrics, checkpoints and the encoder in the run folder.

    Args:
        method: what is trained; its initialisation is the caller's (seed before you construct it).
        data: what on.
        optim: how.
        trainer: how long, where.
        out: run folder, exp/<name>.
        resume: "auto" goes on where the run in `out` stopped, "never" starts anew and forgets it, else a checkpoint file.
        say: takes the few lines that a user should see.

    Returns:
        What metrics.json holds; "finished" is false where a signal stopped the run, which is then named in "stopped_by".

    Raises:
        UserError: unusable data or settings, other settings than the run in `out` had, too many bad files or updates.
    """
    out = Path(out)
    config = settings(method, data, optim, trainer)
    if (done := _finished(out, config)) and resume == "auto":
        say(f"{out}: finished already, with these settings; nothing to do")
        return done
    engine = _engine(trainer, out)
    if not engine.is_global_zero:
        say = _silent
    checkpoint = _begin(out, config, resume, engine.is_global_zero, say)
    task, module, watch, keeper = _parts(method, data, optim, trainer, engine, out)
    facts = _facts(task, module, data, trainer, engine)
    if engine.is_global_zero:
        write_settings(out, config)
        write_json(out / "run.json", facts)
        _introduce(facts, say)
    with keeper.signals(), warnings.catch_warnings():
        # Lightning's own use of torch; nothing that a user could mend
        warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.* is deprecated")
        engine.fit(task, datamodule=module, ckpt_path=None if checkpoint is None else str(checkpoint))
    summary = _summary(watch, engine, trainer, facts)
    if not summary["finished"]:
        say(f"stopped by {summary['stopped_by']} at update {summary['step']}; the same command goes on from there")
    elif engine.is_global_zero:
        save_encoder(out / ENCODER, method.encoder.cpu(), encoder_meta(config, "last"))
        write_json(out / "metrics.json", summary)
        say(f"{out}: {summary['step']} updates, loss {watch.row['loss']:.4f}; the encoder is in {out / ENCODER}")
    return summary


def accumulation(optim: OptimOptions, batch_seconds: float, world: int) -> tuple[float, int]:
    """Seconds per forward pass and passes per update and device that make up `seconds_per_update` over all devices.

    A pass is never longer than `batch_seconds`, and gets shorter where the devices together would exceed the update.
    """
    if optim.seconds_per_update is None:
        return batch_seconds, 1
    share = optim.seconds_per_update / world
    passes = max(1, math.ceil(share / batch_seconds - 1e-9))
    return share / passes, passes


def _finished(out: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    """The summary of a finished run with the same settings."""
    if not (out / "metrics.json").exists() or differences(read_settings(out), config):
        return None
    same_data = read_json(out / "run.json")["data"]["train_sha256"] == fingerprint(config["data"]["train"])
    done: dict[str, Any] = read_json(out / "metrics.json")
    return done if same_data and done.get("finished") else None


def _silent(text: str) -> None:
    """All ranks but the first."""


def _begin(out: Path, config: dict[str, Any], resume: str, first: bool, say: Callable[[str], None]) -> Path | None:
    """The checkpoint to go on from; the first rank makes the folder, or clears it of a run that is not gone on with."""
    if resume not in ("auto", "never"):
        path = Path(resume)
        why = damage(path) if path.is_file() else "no such file"
        if why is not None:
            raise UserError(f"--resume {resume}: is no whole checkpoint ({why}); expected auto, never, or a .ckpt file of a run.")
        out.mkdir(parents=True, exist_ok=True)
        return path
    found = find_checkpoint(out / "checkpoints") if resume == "auto" else None
    if found is None:
        out.mkdir(parents=True, exist_ok=True)
        if first:
            forget(out)
        return None
    changed = differences(read_settings(out), config)
    if read_json(out / "run.json")["data"]["train_sha256"] != fingerprint(config["data"]["train"]):
        changed.append(f"the tables of {config['data']['train']} have changed")
    if changed:
        raise UserError(
            f"{out}: holds a run with other settings: {'; '.join(changed[:5])}. Go on with the old ones, name another folder with "
            f"out=..., or start it anew with --resume never."
        )
    say(f"going on from {found}")
    return found


def _engine(options: TrainerOptions, out: Path) -> Trainer:
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return Trainer(
        max_steps=options.updates,
        max_epochs=-1,
        accelerator=options.accelerator,
        devices=options.devices,
        num_nodes=options.num_nodes,
        precision=resolve(options.precision, "cuda" if options.accelerator != "cpu" and torch.cuda.is_available() else "cpu"),
        default_root_dir=out,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        plugins=[WholeCheckpointIO()],
    )


def _parts(
    method: Method, data: DataOptions, optim: OptimOptions, trainer: TrainerOptions, engine: Trainer, out: Path
) -> tuple[Task, DataModule, Watch, Keeper]:
    encoder = cast(Encoder, method.encoder)
    train = open_dataset(data.train, data.feats, data, encoder, trainer.seed)
    data = sized(data, train)
    valid = None
    if data.valid is not None:
        valid = open_dataset(data.valid, data.valid_feats or data.feats, data, encoder, trainer.seed)
    seconds, passes = accumulation(optim, data.batch_seconds, engine.world_size)
    engine.accumulate_grad_batches = passes
    module = DataModule(
        train,
        valid,
        replace(data, batch_seconds=seconds),
        seed=trainer.seed,
        world=engine.world_size,
        rank=engine.global_rank,
        workers=worker_count(data.workers, engine.num_devices),
        pin=engine.strategy.root_device.type == "cuda",
    )
    keeper = Keeper(out / "checkpoints")
    guard = Guard(out, train, data.bad_share, optim.non_finite_limit, engine.global_rank)
    watch = Watch(out, trainer, module, guard, keeper)
    engine.callbacks.append(watch)  # type: ignore[attr-defined]
    return Task(method, optim, trainer.updates, passes, trainer.seed), module, watch, keeper


def _facts(task: Task, module: DataModule, data: DataOptions, trainer: TrainerOptions, engine: Trainer) -> dict[str, Any]:
    """What a run is, beside its settings."""
    plan = module.batching.plan(0)
    per_pass = sum(float(module.train.durations[batch].sum()) for step in plan for batch in step) / len(plan)
    device = engine.strategy.root_device
    frames: object = getattr(task.method.encoder, "frames", None)
    return {
        "versions": versions(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "devices": engine.world_size,
        "precision": engine.precision,
        "frames_per_epoch": frames if isinstance(frames, int) else None,
        "parameters": sum(p.numel() for p in task.method.parameters() if p.requires_grad),
        "encoder_parameters": sum(p.numel() for p in task.method.encoder.parameters()),
        "passes_per_update": task.accumulate,
        "hours_per_update": per_pass * task.accumulate / 3600,
        "epochs": trainer.updates * task.accumulate / len(plan),
        "data": {
            "train": data.train,
            "train_sha256": fingerprint(data.train),
            "items": len(module.train),
            "hours": float(module.train.durations.sum()) / 3600,
            "valid": data.valid,
            "valid_sha256": None if data.valid is None else fingerprint(data.valid),
        },
    }


def _introduce(facts: dict[str, Any], say: Callable[[str], None]) -> None:
    data = facts["data"]
    say(f"{facts['parameters']:,} trainable parameters, {facts['encoder_parameters']:,} in the encoder")
    if facts["frames_per_epoch"]:
        say(f"{facts['frames_per_epoch']} frames per epoch")
    say(f"{facts['devices']} x {facts['device']}, {facts['precision']}")
    say(
        f"{facts['hours_per_update']:.4g} h of signal per update (in {facts['passes_per_update']} forward passes per device); "
        f"{data['items']:,} items, {data['hours']:.3g} h, are seen {facts['epochs']:.3g} times"
    )


def _summary(watch: Watch, engine: Trainer, trainer: TrainerOptions, facts: dict[str, Any]) -> dict[str, Any]:
    finite = {name: value for name, value in watch.row.items() if value == value and abs(value) != float("inf")}
    finished = engine.global_step >= trainer.updates
    summary: dict[str, Any] = {"finished": finished, **finite, "step": engine.global_step}
    if watch.keeper.best_step:
        summary |= {"best_valid_loss": watch.keeper.best, "best_step": watch.keeper.best_step}
    summary |= {name: facts[name] for name in ("parameters", "hours_per_update", "device", "devices", "precision")}
    summary["quarantined"] = len(watch.guard.unreadable)
    if not finished:  # a signal to another rank is not known by name here
        summary["stopped_by"] = signal.Signals(watch.keeper.asked or signal.SIGTERM).name
    return summary
