"""Training one sequence head: windows of nights in memory, AdamW, best pass by validation kappa, temperature."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.metrics import cohen_kappa_score
from torch import Tensor, nn

from sigssl.data.feature_nights import Night
from sigssl.downstream.head_ensemble import HeadEnsemble
from sigssl.downstream.sequence_head import SequenceHead, masked_cross_entropy
from sigssl.downstream.sleep_settings import HeadSettings, SleepSettings
from sigssl.downstream.tuning import Tuned
from sigssl.errors import UserError
from sigssl.training.optim import groups, multiplier
from sigssl.training.options import OptimOptions

SHORTEST = 10  # epochs that a window holds at least, unless the night has fewer
STAGE_COUNT = 5
NEXT_MEMBER = 10_000  # between the seeds of an ensemble's members
STATISTICS = 16  # nights whose embeddings say how features are standardised, where an encoder is trained along


AnyHead = SequenceHead | HeadEnsemble


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


class Corpus:
    """Nights in memory as tensors, and random windows of them."""

    def __init__(self, nights: Sequence[Night], tuned: Tuned | None = None) -> None:
        self.nights = list(nights)
        self.x = [torch.from_numpy(night.features) for night in nights]
        self.y = [torch.from_numpy(night.stages) for night in nights]
        self.samples = tuned.samples if tuned is not None else 0  # of an epoch, where x are signals [C, N]

    def windows(self, size: int, generator: np.random.Generator) -> list[tuple[int, int, int]]:
        """One pass: every night is cut into windows at a random offset, in random order: (night, first epoch, end)."""
        found = []
        for number, stages in enumerate(self.y):
            start, epochs = int(generator.integers(-size + 1, 1)), len(stages)
            for first in range(start, epochs, size):
                low, high = max(first, 0), min(first + size, epochs)
                if high - low >= min(SHORTEST, size, epochs):
                    found.append((number, low, high))
        order = generator.permutation(len(found))
        return [found[i] for i in order]

    def batch(self, windows: Sequence[tuple[int, int, int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Features [B, T, F] (or epochs of signal [B, T, C, S]), stages [B, T] (-1 in the padding) and lengths [B]."""
        pieces = [self.piece(*window) for window in windows]
        stages = [self.y[n][a:b] for n, a, b in windows]
        lengths = torch.tensor([len(s) for s in stages])
        return padded(pieces), padded(stages, -1.0), lengths

    def piece(self, night: int, start: int, end: int) -> Tensor:
        """Epochs of a night: features [T, F], or signal [T, C, S]."""
        if not self.samples:
            return self.x[night][start:end]
        part = self.x[night][:, start * self.samples : end * self.samples]
        return part.unflatten(1, (end - start, self.samples)).transpose(0, 1)


def padded(sequences: Sequence[Tensor], value: float = 0.0) -> Tensor:
    """Sequences of unequal length, one per row."""
    return nn.utils.rnn.pad_sequence(list(sequences), batch_first=True, padding_value=value)


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


class Average:
    """Exponential moving average of weights, in place of them while `of` is entered; buffers are those of the model."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.weights = [p.detach().clone() for p in model.parameters()] if decay else []

    def update(self, model: nn.Module) -> None:
        """Take a step's weights in; the first steps count more."""
        self.steps += 1
        if self.decay:
            share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
            torch._foreach_lerp_(self.weights, [p.detach() for p in model.parameters()], share)

    def of(self, model: nn.Module) -> Swapped:
        """The model with the averaged weights, within a `with` block."""
        return Swapped(model, self.weights)


class Swapped:
    """Weights exchanged on entering and on leaving."""

    def __init__(self, model: nn.Module, weights: list[Tensor]) -> None:
        self.model, self.weights = model, weights

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *_: object) -> None:
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for parameter, weight in zip(self.model.parameters(), self.weights, strict=False):
            kept = parameter.detach().clone()
            parameter.copy_(weight)
            weight.copy_(kept)


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


@torch.no_grad()
def night_logits(head: AnyHead, tuned: Tuned | None, night: Night) -> Tensor:
    """Logits of all epochs of a night [E, K], each once."""
    x = torch.from_numpy(night.features)
    features = x if tuned is None else tuned.embed(x)[: len(night.stages)]
    return head(features[None])[0]


@torch.no_grad()
def nights_logits(head: AnyHead, features: Sequence[Tensor], at_once: int = 16) -> list[Tensor]:
    """Logits of whole nights, those of like length side by side, which is faster where a head goes step by step."""
    out: dict[int, Tensor] = {}
    order = sorted(range(len(features)), key=lambda i: len(features[i]))
    for start in range(0, len(order), at_once):
        some = order[start : start + at_once]
        lengths = torch.tensor([len(features[i]) for i in some])
        logits = head(padded([features[i] for i in some]), lengths)
        out |= {i: row[:length] for i, row, length in zip(some, logits, lengths.tolist(), strict=True)}
    return [out[i] for i in range(len(features))]


def logits_of(head: AnyHead, tuned: Tuned | None, nights: Sequence[Night]) -> tuple[Tensor, Tensor]:
    """Logits and stages of all scored epochs of the nights."""
    if tuned is None:
        logits = torch.cat(nights_logits(head, [torch.from_numpy(night.features) for night in nights]))
    else:
        logits = torch.cat([night_logits(head, tuned, night) for night in nights])
    stages = torch.cat([torch.from_numpy(night.stages) for night in nights])
    return logits[stages >= 0], stages[stages >= 0]


def validate(head: AnyHead, tuned: Tuned | None, nights: Sequence[Night]) -> tuple[float, float]:
    """Cohen's kappa and accuracy over all scored epochs; kappa is 0 where only one stage occurs."""
    if tuned is not None:
        tuned.eval()
    logits, stages = logits_of(head, tuned, nights)
    said, truth = logits.argmax(-1).numpy(), stages.numpy()
    kappa = float(cohen_kappa_score(truth, said)) if len({*truth.tolist(), *said.tolist()}) > 1 else 0.0
    return kappa, float((said == truth).mean())


def fit_temperature(logits: Tensor, stages: Tensor) -> float:
    """The temperature that minimises the cross-entropy (Guo et al. 2017), within 0.2 to 5; one parameter, by golden section."""
    logits = logits.double()

    def loss(log_t: float) -> float:
        return float(nn.functional.cross_entropy(logits / np.exp(log_t), stages))

    low, high = np.log(0.2), np.log(5.0)
    ratio = (np.sqrt(5.0) - 1) / 2
    for _ in range(40):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return float(np.exp((low + high) / 2))
