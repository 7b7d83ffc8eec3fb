"""The settings of a probe run, as `recipes/conf/probe/*.yaml` and the command line give them (no heavy import here)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sigssl.errors import UserError

Level = Literal["utterance", "frame"]
Target = Literal["label", "speaker", "phones"]
Head = Literal["linear", "hidden", "logistic", "knn"]


@dataclass(frozen=True)
class ProbeSettings:
    """How probes are trained, selected and compared. Everything is chosen on validation data only.

    Attributes:
        level: one class for an utterance (pooled states) or one for every frame.
        target: utt2label's class, utt2spk's speaker, or the phones file's token per 10-ms frame (frame level).
        heads: linear (softmax regression), hidden (one hidden layer, ReLU), logistic (linear,
            brought to the minimum by L-BFGS, with a sweep over `l2` in place of learning rate and epochs), knn.
        hidden: units of the hidden layer.
        pool: utterance level: statistic over time.
        segments: utterance level: equal parts in time that are pooled apart and concatenated (1: the whole utterance).
        layers: weighted (softmax-weighted sum, learned; logistic and knn choose a layer), best (the layer that does best on
            validation data), joined (all layers side by side) or one layer's number.
        lrs: learning rates that are tried (log grid); SUPERB tunes only these.
        l2: L2 penalties that head `logistic` tries.
        ks: numbers of neighbours that head `knn` tries.
        batch_size: utterances (frames) per update.
        epochs: passes over the training data at most.
        patience: passes without any better validation accuracy, for any learning rate, before the sweep stops.
        seeds: probes trained with the chosen settings; results are their mean and standard deviation. (logistic and knn have
            one answer and run once.)
        inner: cross-validation: selection on the other training speakers in turn (speakers), or on a part of the training
            utterances (part).
        inner_folds: groups of training speakers that are held out in turn for selection.
        part: share of the training data that is held out where `inner` is part, or where no dev data are given.
        shared_speakers: allow speakers of the training data in the test data (always so where the target is the speaker).
        transductive: allow encoders that were pretrained on recordings of the test speakers.
        baselines: arms beside the models: logmel, logmel-thirds, logmel-deltas, logmel-deltas-thirds, mfcc, untrained; on a store
            of signals (--store) logpower, waveform, untrained.
        bootstrap: resamples of the test speakers for the 95 % interval.
        max_frames: frame level: training frames at most; utterances are drawn at random until they are reached.
        seed: of splits, initial values, batches and resampling.
    """

    level: Level = "utterance"
    target: Target = "label"
    heads: list[Head] = field(default_factory=lambda: ["linear"])
    hidden: int = 256
    pool: Literal["mean", "mean+std", "max"] = "mean+std"
    segments: int = 1
    layers: str | int = "weighted"
    lrs: list[float] = field(default_factory=lambda: [1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4])
    l2: list[float] = field(default_factory=lambda: [3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0])
    ks: list[int] = field(default_factory=lambda: [1, 3, 5, 10, 20, 50])
    batch_size: int = 128
    epochs: int = 60
    patience: int = 15
    seeds: int = 3
    inner: Literal["speakers", "part"] = "speakers"
    inner_folds: int = 4
    part: float = 0.1
    shared_speakers: bool = False
    transductive: bool = False
    baselines: list[str] = field(default_factory=lambda: ["logmel", "logmel-thirds", "untrained"])
    bootstrap: int = 10_000
    max_frames: int = 500_000
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that cannot be meant, with a UserError."""
        if (self.target == "phones") != (self.level == "frame"):
            raise UserError(
                f"target {self.target!r} is not a class of a{'n utterance' if self.level == 'utterance' else ' frame'}: "
                "phones go with level=frame, label and speaker with level=utterance."
            )
        if not (isinstance(self.layers, int) and self.layers >= 0) and self.layers not in ("weighted", "best", "joined"):
            raise UserError(
                f"layers={self.layers!r}: expected 'weighted', 'best', 'joined' or a layer's number (0 is the input embedding)."
            )
        for name in ("lrs", "l2", "ks", "heads"):
            if not getattr(self, name):
                raise UserError(f"{name} is empty: give at least one value to try.")
        for name in ("segments", "batch_size", "epochs", "patience", "seeds", "inner_folds", "hidden", "bootstrap", "max_frames"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)}: must be at least 1.")
        if self.level == "frame" and "logistic" in self.heads:
            raise UserError("head 'logistic' takes all training data at once, too much for frames: use head 'linear'.")
        if min(self.lrs) <= 0 or min(self.ks) < 1 or min(self.l2) < 0:
            raise UserError("lrs must be above 0, ks at least 1, and l2 not negative.")
        if not 0 < self.part < 1:
            raise UserError(f"part={self.part}: the share of the training data held out for selection lies between 0 and 1.")
