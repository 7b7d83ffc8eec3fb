"""The training loop of a recogniser: plain enough to read, with checkpoints from which it goes on bit for bit.

Whatever is drawn in update n (dropout, masks, the batch) follows from the seed and n, so a checkpoint needs no random state.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sigssl.asr.checkpoint import Trained, read_checkpoint, write_checkpoint
from sigssl.asr.evaluate import Dev
from sigssl.asr.examples import Example, Skipped
from sigssl.asr.inputs import GIB, Inputs, Loaded
from sigssl.asr.losses import blanks, losses_of
from sigssl.asr.recogniser import Recogniser
from sigssl.asr.settings import AsrSettings
from sigssl.data.batching import Batching, Position, derive
from sigssl.downstream.tuning import chosen_parts, hold, train_only
from sigssl.errors import UserError
from sigssl.training.callbacks.metrics import Row, Sink, sinks
from sigssl.training.optim import groups, multiplier
from sigssl.training.options import OptimOptions
from sigssl.training.precision import resolve
from sigssl.views import SpanMask

NON_FINITE_LIMIT = 50  # updates with a gradient that is not finite, after which training stops
LAST, BEST = "last.ckpt", "best.ckpt"


@dataclass
class Progress:
    """What a checkpoint holds beside weights and the optimiser's state; plain values.

    Attributes:
        update: how many are done.
        position: where the batches stand.
        best: scores of the dev set at the best update so far (empty before the first).
        counts: over the whole run: infinite losses, updates left out, seconds of signal.
        tally: sums since the last line of metrics.jsonl.
    """

    update: int = 0
    position: Position = field(default_factory=Position)
    best: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=lambda: {"infinite": 0.0, "non_finite": 0.0, "seconds": 0.0})
    tally: dict[str, float] = field(default_factory=dict)


class Trainer:
    """One run.

    Args:
        recogniser: freshly made, on its device.
        train: examples to learn from.
        dev: examples by which the best update is chosen.
        settings: how.
        out: run folder; `checkpoints/` and `metrics.jsonl` are kept there.
        identity: what must be the same for a checkpoint to be gone on from.
        say: told of every line of metrics.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        train: Sequence[Example],
        dev: Sequence[Example],
        settings: AsrSettings,
        out: Path,
        identity: str = "",
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.recogniser, self.examples, self.settings, self.identity = recogniser, train, settings, identity
        encoder = recogniser.encoder
        self.tuned = chosen_parts(encoder, settings.tune)
        train_only(encoder, self.tuned)
        self.optimizer = self._optimizer()
        self.factor = multiplier(OptimOptions(warmup=settings.warmup, decay=settings.decay), settings.updates)
        room = settings.cache_gib * GIB
        self.inputs = Inputs(train, recogniser, frozen=not self.tuned, room=room)
        self.dev = Dev(Inputs(dev, recogniser, frozen=not self.tuned, room=room - self.inputs.used), settings.batch_seconds)
        self.batching = Batching(np.array([example.seconds for example in train]), settings.batch_seconds, seed=settings.seed)
        mask = settings.mask
        stride = recogniser.hop / recogniser.sample_rate
        self.mask = SpanMask(mask.times, round(mask.seconds / stride), mask.share, mask.channels, mask.width)
        self.progress = Progress()
        self.out, self.folder, self.say = out, out / "checkpoints", say
        self.sinks: list[Sink] = []

    def run(self) -> Progress:
        """Train, from the last checkpoint where there is one; the recogniser ends with the best weights.

        Raises:
            UserError: a checkpoint of another run, or too many gradients that are not finite.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / LAST).exists():
            self._restore(read_checkpoint(self.folder / LAST))
        self.sinks = sinks(self.out, self.progress.update)
        try:
            self._updates()
        finally:
            for sink in self.sinks:
                sink.close()
        self._trained().load(read_checkpoint(self.folder / BEST)["trained"])
        self.recogniser.eval()
        return self.progress

    def _updates(self) -> None:
        for loaded in self.inputs.load(self._plans()):
            self.step(loaded)
            self.progress.position = self.batching.after(loaded.planned.position)
            self._after_update()
            if self.progress.update == self.settings.updates:
                break

    def _plans(self) -> Iterator[Any]:
        if self.progress.update < self.settings.updates:
            yield from self.batching.stream(start=self.progress.position)

    def step(self, loaded: Loaded) -> None:
        """One update."""
        progress, settings = self.progress, self.settings
        progress.update += 1
        thawed = progress.update > settings.thaw_after
        for parameter in self.tuned:
            parameter.requires_grad_(thawed)
        self.recogniser.train()
        hold(self.recogniser.encoder)
        if not loaded.items:
            return
        device = self.recogniser.device
        torch.manual_seed(derive(settings.seed, "dropout", progress.update))
        generator = torch.Generator(device).manual_seed(derive(settings.seed, "mask", progress.update))
        with self._autocast():
            with contextlib.nullcontext() if thawed and self.tuned else torch.no_grad():
                states, frames = self.inputs.states(loaded)
            features = self.mask(self.recogniser.head.mix(states), frames, generator)
            heard = self.recogniser.head(features, frames)
            losses = losses_of(self.recogniser.head, heard, [self.examples[item].tokens for item in loaded.items])
        self.optimizer.zero_grad(set_to_none=True)
        losses.loss.backward()
        norm = nn.utils.clip_grad_norm_([p for p in self.recogniser.parameters() if p.grad is not None], settings.clip).item()
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * self.factor(progress.update)
        if math.isfinite(norm):
            self.optimizer.step()
        seconds = sum(self.examples[item].seconds for item in loaded.items)
        self._count(norm, losses.infinite, seconds)
        blank, valid = (int(number) for number in blanks(heard))
        sums = {"steps": 1.0, "loss": losses.loss.item(), "ctc_loss": losses.ctc.item(), "grad_norm": norm}
        if losses.attention is not None:
            sums["attention_loss"] = losses.attention.item()
        for name, value in (sums | {"blank": blank, "frames": valid, "seconds": seconds, "infinite": losses.infinite}).items():
            progress.tally[name] = progress.tally.get(name, 0.0) + float(value)

    def validate(self) -> None:
        """Recognise the dev set; keep these weights where they are the best by WER, then CER, then loss (or CER before WER)."""
        self.recogniser.eval()
        with torch.no_grad(), self._autocast():
            scores = self.dev.scores()
        progress = self.progress
        order = ("cer", "wer", "loss") if self.settings.best_by == "cer" else ("wer", "cer", "loss")
        if not progress.best or [scores[name] for name in order] < [progress.best[name] for name in order]:
            progress.best = {"update": float(progress.update), **scores}
            write_checkpoint(self.folder / BEST, {"trained": self._trained().state(), "update": progress.update, "scores": scores})
        self._record({f"dev_{name}": value for name, value in scores.items()})

    def failures(self) -> dict[str, list[Skipped]]:
        """What could not be read while training, by part."""
        return {"train": list(self.inputs.failed.values()), "dev": list(self.dev.inputs.failed.values())}

    def _after_update(self) -> None:
        update, settings = self.progress.update, self.settings
        ends = update == settings.updates
        if ends or update % settings.log_every == 0:
            self._log()
        if ends or update % settings.validate_every == 0:
            self.validate()
        if ends or update % settings.save_every == 0:
            write_checkpoint(self.folder / LAST, self._state())

    def _log(self) -> None:
        tally, self.progress.tally = self.progress.tally, {}
        steps = max(tally.get("steps", 0.0), 1.0)
        line: Row = {}
        for name in ("loss", "ctc_loss", "attention_loss", "grad_norm"):
            if name in tally:
                line[name] = tally[name] / steps
        line["blank_ratio"] = tally.get("blank", 0.0) / max(tally.get("frames", 0.0), 1.0)
        line["lr"] = self.settings.lr * self.factor(self.progress.update)
        if self.tuned:
            thawed = self.progress.update > self.settings.thaw_after
            line["encoder_lr"] = self.settings.encoder_lr * self.factor(self.progress.update) if thawed else 0.0
        line |= {"infinite": float(tally.get("infinite", 0)), "seconds": round(tally.get("seconds", 0.0), 1)}
        self._record(line)

    def _record(self, row: Row) -> None:
        row = {"step": float(self.progress.update), **row}
        for sink in self.sinks:
            sink.write(row)
        self.say("  ".join(f"{name} {value:.0f}" if value.is_integer() else f"{name} {value:.4g}" for name, value in row.items()))

    def _count(self, norm: float, infinite: int, seconds: float) -> None:
        counts = self.progress.counts
        counts["infinite"] += infinite
        counts["seconds"] += seconds
        counts["non_finite"] += not math.isfinite(norm)
        if counts["non_finite"] >= NON_FINITE_LIMIT:
            raise UserError(
                f"{NON_FINITE_LIMIT} gradients were not finite (the last in update {self.progress.update}): lower lr "
                f"({self.settings.lr:g}) or encoder_lr ({self.settings.encoder_lr:g}), and look at the data."
            )

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        kind, precision = self.recogniser.device.type, self.settings.precision
        on = (kind == "cuda" or precision != "auto") and resolve(precision, kind) == "bf16-mixed"
        return torch.autocast(kind, torch.bfloat16) if on else contextlib.nullcontext()

    def _optimizer(self) -> torch.optim.AdamW:
        settings = self.settings
        parts: list[dict[str, Any]] = []
        for module, peak in ((self.recogniser.head, settings.lr), (self.recogniser.encoder, settings.encoder_lr)):
            parts += [{**group, "lr": peak, "peak": peak} for group in groups(module, settings.weight_decay) if group["params"]]
        return torch.optim.AdamW(parts, lr=settings.lr, fused=True)

    def _trained(self) -> Trained:
        return Trained(self.recogniser, bool(self.tuned))

    def _state(self) -> dict[str, Any]:
        return {
            "identity": self.identity,
            "trained": self._trained().state(),
            "optimizer": self.optimizer.state_dict(),
            "progress": vars(self.progress) | {"position": list(self.progress.position)},
        }

    def _restore(self, state: dict[str, Any]) -> None:
        if state.get("identity") != self.identity:
            raise UserError(
                f"{self.folder.parent}: holds a run with other settings, model or data, from which this one cannot go on. Name "
                f"another --out, or give --overwrite true to begin anew."
            )
        self._trained().load(state["trained"])
        self.optimizer.load_state_dict(state["optimizer"])
        progress = state["progress"]
        self.progress = Progress(**progress | {"position": Position(*progress["position"])})
