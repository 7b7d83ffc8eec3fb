"""The settings of `sigssl finetune sleep`, as recipes/conf/sleep/*.yaml and the command line give them (no heavy import here)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sigssl.errors import UserError
from sigssl.training.options import Precision

Center = Literal["none", "night", "past"]
Tune = Literal["frozen", "last_block", "full"]


@dataclass(frozen=True)
class HeadSettings:
    """One arm: a sequence head and the learning rates that validation chooses from.

    Attributes:
        kind: mamba, bimamba, gru, bigru, lstm, bilstm, transformer, none.
        dim: width.
        layers: blocks.
        dropout: of blocks.
        input_dropout: of the projected input.
        d_state: states of Mamba.
        expand: inner width of Mamba.
        heads: attention heads.
        residual: norm and residual around recurrent layers.
        squash: standardised features x become s tanh(x / s); 0: they stay.
        lrs: learning rates tried; the one with the best validation kappa is kept.
        members: heads trained apart, from different initial values and batches; the mean of their log-probabilities counts.
        name: in tables; the kind by default.
    """

    kind: str = "bimamba"
    dim: int = 128
    layers: int = 2
    dropout: float = 0.2
    input_dropout: float = 0.1
    d_state: int = 16
    expand: int = 2
    heads: int = 4
    residual: bool = True
    squash: float = 0.0
    lrs: list[float] = field(default_factory=lambda: [1e-3])
    members: int = 1
    name: str = ""

    def __post_init__(self) -> None:
        """Refuse settings that cannot be meant, with a UserError."""
        if self.members < 1 or not self.lrs:
            raise UserError(
                f"head {self.name or self.kind}: members={self.members} and lrs={self.lrs}, at least one of each is needed."
            )


@dataclass(frozen=True)
class SleepSettings:
    """How heads are trained, selected and tested.

    Attributes:
        folds: number of folds over subjects, or "loso".
        validation: share of the training subjects held out for every choice.
        split: a split file to use in place of `folds`; the folds that are made are saved as split.json.
        seeds: runs with different initial values and batches; results are their mean.
        passes: over the training nights; after each, the head is tried on the validation nights.
        updates: at least so many, however few the nights: a pass then goes over them several times.
        window: epochs of a training window.
        batch: windows per update.
        weight_decay: of matrices.
        warmup: share of the updates.
        clip: of the gradient's norm.
        smoothing: of labels.
        class_weights: weigh stages by the inverse square root of their frequency.
        noise: deviation of the noise added to standardised features.
        offset: deviation of an offset of standardised features that is the same in a whole window: people differ like that.
        feature_dropout: share of features that a window does not see.
        ema: decay of the averaged weights that are tested; 0 for none.
        scale: unit of the band powers: zscore (as stored), median, running (causal).
        night: append features standardised over the night (median and interquartile range).
        fractions: shares of the training subjects to train with; each is an arm.
        scratch: beside a pretrained encoder, the same one untrained.
        tune: what of an encoder is trained: frozen, last_block or full.
        center: what is subtracted from embeddings (not an untrained encoder's): their mean over the night, over its past, or none.
        encoder_lr: learning rate of the encoder's trained parts.
        scratch_lr: learning rate of the untrained encoder.
        precision: of an encoder's training steps: 32-true, bf16-mixed, or auto: bf16-mixed where that is fast.
        logistic: also logistic regression on this many epochs to either side; -1 for none.
        bootstrap: resamples of the test subjects.
        seed: first seed, and that of the folds.
    """

    folds: int | str = 5
    validation: float = 0.125
    split: str | None = None
    seeds: int = 1
    passes: int = 8
    updates: int = 0
    window: int = 100
    batch: int = 32
    weight_decay: float = 0.05
    warmup: float = 0.1
    clip: float = 1.0
    smoothing: float = 0.0
    class_weights: bool = False
    noise: float = 0.0
    offset: float = 0.0
    feature_dropout: float = 0.0
    ema: float = 0.99
    scale: Literal["zscore", "median", "running"] = "zscore"
    night: bool = False
    fractions: list[float] = field(default_factory=lambda: [1.0])
    scratch: bool = False
    tune: Tune = "frozen"
    center: Center = "none"
    encoder_lr: float = 1e-4
    scratch_lr: float = 1e-3
    precision: Precision = "auto"
    logistic: int = -1
    bootstrap: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that cannot be meant, with a UserError."""
        for name in ("seeds", "passes", "window", "batch", "bootstrap"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)}: must be at least 1.")
        if not 0 < self.validation < 1:
            raise UserError(f"validation={self.validation}: a share between 0 and 1.")
        if not self.fractions or not all(0 < f <= 1 for f in self.fractions):
            raise UserError(f"fractions={self.fractions}: shares above 0, at most 1.")
        if self.night and self.scale == "running":
            raise UserError("night=true standardises by the whole night, scale=running looks at the past only: choose one.")
