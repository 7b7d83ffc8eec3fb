"""The settings of pretraining: the sections `data`, `optim` and `trainer` of a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sigssl.errors import UserError

Precision = Literal["32-true", "bf16-mixed", "auto"]


@dataclass
class DataOptions:
    """What is trained on, and how it is batched.

    Args:
        train: data directory to pretrain on, or shar:DIR, a folder of lhotse Shar, which is read shard by shard.
        valid: data directory for the validation loss; none: no validation.
        feats: feature store (folder with feats.scp and feats.json) of the training utterances; none: features are computed from the
            signals, on the device.
        valid_feats: feature store of the validation utterances; none: the same as feats.
        crop_seconds: a window of this length is drawn anew each epoch from longer utterances; none: whole utterances.
        chunk_seconds: longer recordings are first cut into equal pieces of at most this length; none: they stay whole.
        min_seconds: shorter utterances are left out.
        batch_seconds: seconds per device and forward pass, padding included; what fits the memory. Accumulation makes up the rest
            of optim.seconds_per_update.
        max_items: most utterances in one forward pass.
        padding: largest share of padding in a batch.
        window: of data in Shar, utterances of consecutive shards that are shuffled together (on each rank).
        channel: channel of recordings: a number from 0, "mean" or "all".
        batch_epochs: epochs of stored nights per device and forward pass, in place of batch_seconds and max_items.
        channels: names of the channels of stored nights to take, in the encoder's order; none: all.
        workers: processes that read data, per device; none: as many as there are cores for, up to 8.
        bad_share: largest share of unreadable utterances before training stops.
    """

    train: str
    valid: str | None = None
    feats: str | None = None
    valid_feats: str | None = None
    crop_seconds: float | None = 15.0
    chunk_seconds: float | None = None
    min_seconds: float = 0.0
    batch_seconds: float = 120.0
    max_items: int = 512
    padding: float = 0.2
    window: int = 10_000
    channel: int | Literal["mean", "all"] = 0
    batch_epochs: int | None = None
    channels: list[str] | None = None
    workers: int | None = None
    bad_share: float = 0.05


@dataclass
class OptimOptions:
    """AdamW and its schedule.

    Args:
        lr: peak learning rate.
        warmup: share of the updates in which the rate rises linearly from 0.
        decay: how it falls afterwards: linear or cosine to 0, or constant.
        weight_decay: of matrices; biases, norms and parameters marked `_no_weight_decay` have none.
        betas: of Adam.
        eps: of Adam.
        clip: largest global norm of the gradient; none: not clipped.
        seconds_per_update: of signal, over all devices; forward passes are accumulated until it is reached. None: one
            forward pass per device.
        non_finite_limit: updates with a non-finite gradient are skipped; after this many, training stops.
    """

    lr: float = 2e-4
    warmup: float = 0.07
    decay: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    clip: float | None = 5.0
    seconds_per_update: float | None = None
    non_finite_limit: int = 50

    def __post_init__(self) -> None:
        if not 0.0 <= self.warmup <= 1.0:
            raise UserError(f"optim.warmup is {self.warmup}; expected a share of the updates, 0 to 1.")


@dataclass
class TrainerOptions:
    """How long, on what, and what is kept.

    Args:
        updates: optimiser updates of the whole run.
        seed: of initialisation, order, crops and alterations.
        precision: 32-true, bf16-mixed (parameters, features and norms stay in float32), or auto: bf16-mixed where the device
            multiplies bfloat16 matrices in hardware (GPUs since Ampere, CPUs with AVX512-BF16 or AMX).
        accelerator: cpu, gpu or auto.
        devices: how many, per machine, or auto.
        num_nodes: machines.
        log_every: updates between lines of metrics.jsonl.
        save_every: updates between checkpoints.
        validate_every: updates between validations.
        meter_every: updates between measurements of collapse.
        progress: show a progress bar.
    """

    updates: int = 200_000
    seed: int = 1337
    precision: Precision = "32-true"
    accelerator: str = "auto"
    devices: int | Literal["auto"] = "auto"
    num_nodes: int = 1
    log_every: int = 50
    save_every: int = 1000
    validate_every: int = 1000
    meter_every: int = 500
    progress: bool = True

    def __post_init__(self) -> None:
        for name in ("updates", "log_every", "save_every", "validate_every", "meter_every", "num_nodes"):
            if getattr(self, name) < 1:
                raise UserError(f"trainer.{name} is {getattr(self, name)}; expected 1 or more.")
