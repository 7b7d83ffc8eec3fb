"""Training one sequence head: windows of nights in memory, AdamW, best pass by validation kappa, temperature."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sigssl.data.feature_nights import Night
from sigssl.downstream.head_ensemble import HeadEnsemble
from sigssl.downstream.night_windows import Corpus, padded
from sigssl.downstream.sequence_head import SequenceHead, masked_cross_entropy
from sigssl.downstream.sleep_settings import HeadSettings, SleepSettings
from sigssl.downstream.sleep_validation import AnyHead, fit_temperature, logits_of, validate
from sigssl.downstream.tuning import Tuned
from sigssl.downstream.weight_average import Average
from sigssl.errors import UserError
from sigssl.training.optim import groups, multiplier
from sigssl.training.options import OptimOptions

STAGE_COUNT = 5
NEXT_MEMBER = 10_000  # between the seeds of an ensemble's members
STATISTICS = 16  # nights whose embeddings say how features are standardised, where an encoder is trained along


@dataclass(frozen=True)
class Trained:
    """A head as it was after its best pass, or an ensemble of such heads.

    Attributes:
        head: in eval mode; its weights are copies that no later step has touched.
        front: the encoder and its trained parts, where features come from one; None for stored features.
        temperature: fitted on the validation nights.
        lrs: the learning rate that validation chose, of each member.
        passes: number of the best pass, from 1, of each member.
        kappa: on the validation nights after it.
        history: of every pass: loss, validation kappa and accuracy; of one member after the other.
    """

    head: AnyHead
    front: Tuned | None
    temperature: float
    lrs: list[float]
    passes: list[int]
    kappa: float
    history: list[dict[str, Any]]


def train_head(
    train: Sequence[Night],
    validation: Sequence[Night],
    head: HeadSettings,
    settings: SleepSettings,
    seed: int,
    tuned: Callable[[], Tuned] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Trained:
    """Train with every learning rate of `head.lrs`; keep what does best on the validation nights.

    Args:
        train: nights that weights are trained on.
        validation: nights that pass, learning rate and temperature are chosen on.
        head: the arm.
        settings: of the training.
        seed: of initial values, windows and dropout.
        tuned: makes the encoder whose parts are trained along; the nights then hold signals [C, N].
        say: told of every pass.

    Raises:
        UserError: an ensemble over an encoder that is trained along.
    """
    if head.members > 1 and tuned is not None:
        raise UserError(f"head {head.name or head.kind}: members={head.members} needs features that stay: use tune=frozen.")

    def one(seed: int) -> Trained:
        """The best learning rate's."""
        runs = [_train(train, validation, head, settings, lr, seed, tuned() if tuned else None, say) for lr in head.lrs]
        return max(runs, key=lambda run: run.kappa)

    members = [one(seed + NEXT_MEMBER * number) for number in range(head.members)]
    return members[0] if len(members) == 1 else _together(members, validation)


def _together(members: Sequence[Trained], validation: Sequence[Night]) -> Trained:
    ensemble = HeadEnsemble([member.head for member in members if isinstance(member.head, SequenceHead)]).eval()
    kappa, _ = validate(ensemble, None, validation)
    temperature = fit_temperature(*logits_of(ensemble, None, validation))
    history = [{"member": number, **row} for number, member in enumerate(members) for row in member.history]
    lrs, passes = [lr for member in members for lr in member.lrs], [best for member in members for best in member.passes]
    return Trained(ensemble, None, temperature, lrs, passes, kappa, history)


def _train(
    train: Sequence[Night],
    validation: Sequence[Night],
    arm: HeadSettings,
    settings: SleepSettings,
    lr: float,
    seed: int,
    tuned: Tuned | None,
    say: Callable[[str], None],
) -> Trained:
    corpus, generator = Corpus(train, tuned), np.random.default_rng(seed)
    torch.manual_seed(seed)
    head = make_head(arm, int(corpus.x[0].shape[1]) if tuned is None else tuned.dim)
    head.standardise(torch.cat(corpus.x if tuned is None else [tuned.embed(x) for x in corpus.x[:STATISTICS]]))
    model = nn.ModuleList([head] if tuned is None else [head, tuned])
    options = OptimOptions(lr=lr, warmup=settings.warmup, decay="cosine", weight_decay=settings.weight_decay)
    parts = groups(head, settings.weight_decay)
    if tuned is not None:
        parts += [{**group, "lr": settings.encoder_lr} for group in groups(tuned, settings.weight_decay)]
    adam = torch.optim.AdamW([p for p in parts if p["params"]], lr=lr, fused=True)
    sweeps, updates = lengths_of_training(corpus, settings, seed)
    factor = multiplier(options, updates)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda done: factor(min(done + 1, updates)))
    average = Average(model, settings.ema)
    weights = stage_weights(train) if settings.class_weights else None
    history: list[dict[str, Any]] = []
    best: tuple[float, dict[str, Tensor]] | None = None
    for number in range(settings.passes):
        model.train()
        windows = [window for _ in range(sweeps) for window in corpus.windows(settings.window, generator)]
        middles = [] if tuned is None else [tuned.middle(x) for x in corpus.x]  # as the encoder is now, for the whole pass
        losses = []
        for start in range(0, len(windows), settings.batch):
            some = windows[start : start + settings.batch]
            x, y, lengths = corpus.batch(some)
            features = x if tuned is None else tuned(x) - padded([middles[n][a:b] for n, a, b in some])
            loss = masked_cross_entropy(head(disturb(features, head, settings), lengths), y, lengths, weights, settings.smoothing)
            adam.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
            adam.step()
            schedule.step()
            average.update(model)
            losses.append(loss.item())
        if not np.isfinite(losses[-1]):
            raise UserError(
                f"the loss of {arm.name or arm.kind} is {losses[-1]} in pass {number + 1}: use a lower learning rate than {lr:g}."
            )
        with average.of(model):
            kappa, accuracy = validate(head.eval(), tuned, validation)
            history.append({"pass": number + 1, "loss": float(np.mean(losses)), "kappa": kappa, "accuracy": accuracy})
            say(f"pass {number + 1}: loss {np.mean(losses):.3f}, validation kappa {kappa:.4f}, accuracy {accuracy:.4f}")
            if best is None or kappa > best[0]:
                best = (kappa, copy.deepcopy(model.state_dict()))  # copies: a state dict alone would follow every later step
    assert best is not None
    model.load_state_dict(best[1])
    model.eval()
    temperature = fit_temperature(*logits_of(head, tuned, validation))
    chosen = 1 + int(np.argmax([h["kappa"] for h in history]))
    return Trained(head, tuned, temperature, [lr], [chosen], best[0], history)


def lengths_of_training(corpus: Corpus, settings: SleepSettings, seed: int) -> tuple[int, int]:
    """How often each pass goes over the nights, and the updates of all passes."""
    once = max(1, -(-len(corpus.windows(settings.window, np.random.default_rng(seed))) // settings.batch))
    sweeps = max(1, -(-settings.updates // (settings.passes * once)))
    return sweeps, settings.passes * sweeps * once


def make_head(arm: HeadSettings, input_dim: int) -> SequenceHead:
    """The head that an arm describes."""
    sizes = (arm.dim, arm.layers, arm.dropout, arm.input_dropout)
    return SequenceHead(
        input_dim,
        arm.kind,
        STAGE_COUNT,
        *sizes,
        d_state=arm.d_state,
        expand=arm.expand,
        heads=arm.heads,
        residual=arm.residual,
        squash=arm.squash,
    )


def disturb(x: Tensor, head: SequenceHead, settings: SleepSettings) -> Tensor:
    """Training's augmentations: noise, offsets that last for a window, and features hidden (set to their mean) for one."""
    if settings.offset:
        x = x + settings.offset * head.std * torch.randn(len(x), 1, x.shape[-1])
    if settings.noise:
        x = x + settings.noise * head.std * torch.randn_like(x)
    if settings.feature_dropout:
        hidden = torch.rand(len(x), 1, x.shape[-1]) < settings.feature_dropout
        x = torch.where(hidden, head.mean.expand_as(x), x)
    return x


def stage_weights(nights: Sequence[Night]) -> Tensor:
    """Inverse square root of each stage's frequency, with mean 1."""
    counts = np.sum([np.bincount(night.stages[night.stages >= 0], minlength=STAGE_COUNT) for night in nights], axis=0)
    weights = 1 / np.sqrt(np.maximum(counts, 1))
    return torch.from_numpy(weights / weights.mean()).float()
