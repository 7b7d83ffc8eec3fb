"""A probe run: every arm's states, every head, every fold; choice on validation data, the test data predicted once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sigssl.downstream.arms import Arm, pretraining_speakers
from sigssl.downstream.fit import GRADIENT, Choice, Examples, fit, predict, select
from sigssl.downstream.problem import Problem
from sigssl.downstream.protocol import Fold, check_pretraining
from sigssl.downstream.settings import ProbeSettings
from sigssl.downstream.states import frame_states, pooled_states


@dataclass(frozen=True)
class FoldResult:
    """One arm and head on one fold.

    Attributes:
        fold: which.
        choice: what validation chose.
        layer_weights: mean over seeds of the learned weights [L], where they are learned.
        rows: how many predicted rows each test item has [items of the fold].
        truth: class numbers of the test rows.
        predicted: class numbers [seeds, test rows].
    """

    fold: Fold
    choice: Choice
    layer_weights: np.ndarray | None
    rows: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True)
class Row:
    """One line of the table: an arm with a head, over all folds."""

    arm: Arm
    head: str
    folds: list[FoldResult]


@dataclass(frozen=True)
class Outcome:
    """A finished run: the problem, the lines of the table, and what must be said beside them."""

    problem: Problem
    rows: list[Row]
    notes: list[str]


def run(
    problem: Problem,
    arms: list[Arm],
    settings: ProbeSettings,
    scratch: Path,
    device: str = "cpu",
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Probe all arms.

    Args:
        problem: items, classes and folds.
        arms: models first; each is compared with the others.
        settings: heads and what is tried.
        scratch: an existing folder; at frame level the states of one encoder at a time lie there, and are removed.
        device: where encoders run; the probes themselves are small and run on the processor.
        say: told what is being done, line by line.

    Raises:
        UserError: a model that was pretrained on test speakers (unless the settings allow it), or unreadable recordings.
    """
    notes = list(problem.notes)
    for arm in arms:
        notes += pretraining_notes(arm, problem, settings)
    rows: list[Row] = []
    for arm in arms:
        found: dict[str, list[FoldResult]] = {head: [] for head in settings.heads}
        key: str | None = None
        for fold in problem.folds:
            if arm.key_for(fold) != key:  # folds that share an encoder follow one another or cost a second pass
                key = arm.key_for(fold)
                say(f"{arm.name}: hidden states{f' of {key}' if key else ''}")
                examples = states(arm, fold, problem, settings, scratch, device)
            for head in settings.heads:
                result = probe_fold(examples, fold, head, settings)
                found[head].append(result)
                say(f"{arm.name}, {head}, fold {fold.name}: {describe_choice(result.choice)}; {_accuracy(result):.1%} on test")
        rows += [Row(arm, head, found[head]) for head in settings.heads]
    (scratch / "states.f16").unlink(missing_ok=True)
    return Outcome(problem, rows, notes)


def pretraining_notes(arm: Arm, problem: Problem, settings: ProbeSettings) -> list[str]:
    """What is known of the arm's pretraining speakers, one distinct sentence for each model folder and finding."""
    if arm.model_for is None or settings.target == "speaker":
        return []
    said: dict[str, None] = {}
    for fold in problem.folds:
        folder = arm.model_for(fold)
        speakers = pretraining_speakers(folder)
        if settings.transductive:
            heard = sorted({problem.items[row].speaker for row in fold.test} & set(speakers or []))
            if heard:
                said[f"{folder}: was pretrained on recordings of {len(heard)} test speakers (transductive, as asked)."] = None
        else:
            said[check_pretraining(fold, problem.items, speakers, folder)] = None
    return list(said)


def states(arm: Arm, fold: Fold, problem: Problem, settings: ProbeSettings, scratch: Path, device: str) -> Examples:
    """The examples that an arm makes of all items."""
    if problem.store is not None and arm.rows_for is not None:
        x = problem.store.rows(problem.utterances, arm.rows_for(fold))
        spans = np.stack([np.arange(len(x)), np.arange(len(x)) + 1], axis=1)
        return Examples(x, problem.targets(spans, None), spans, len(problem.classes))
    encoder = arm.encoder_for(fold)
    if settings.level == "utterance":
        x = pooled_states(encoder, problem.utterances, arm.pool, arm.segments, device)
        spans = np.stack([np.arange(len(x)), np.arange(len(x)) + 1], axis=1)
        y = problem.targets(spans, None)
    else:
        x, spans = frame_states(encoder, problem.utterances, scratch / "states.f16", device)
        y = problem.targets(spans, encoder.hop / encoder.sample_rate)
    if settings.layers == "joined":
        x = x.reshape(len(x), 1, -1)  # a view, of a memory map too
    return Examples(x, y, spans, len(problem.classes))


def probe_fold(examples: Examples, fold: Fold, head: str, settings: ProbeSettings) -> FoldResult:
    """Choose, train with every seed, and predict the test rows.

    What chooses and trains is given a copy of the classes in which those of the test items are erased.
    """
    hidden = examples.y.copy()
    for item in fold.test:
        hidden[slice(*examples.spans[item])] = -2
    blind = Examples(examples.x, hidden, examples.spans, examples.classes)
    choice = select(blind, fold.inner, head, settings)
    seeds = settings.seeds if head in GRADIENT else 1
    fitted = [fit(blind, fold.train, choice, head, settings, settings.seed + seed) for seed in range(seeds)]
    tested = examples.rows(fold.test)
    weights = [f.layer_weights for f in fitted if f.layer_weights is not None]
    return FoldResult(
        fold,
        choice,
        np.mean(weights, axis=0) if weights else None,
        np.array([len(examples.rows(np.array([item]))) for item in fold.test]),
        examples.y[tested],
        np.stack([predict(f, examples.x, tested) for f in fitted]),
    )


def describe_choice(choice: Choice) -> str:
    """`lr 0.01, 23 epochs, layer 2`, as far as each was chosen."""
    parts = [f"lr {choice.lr:g}", f"{choice.epochs} epochs"] if choice.lr else []
    parts += [f"L2 {choice.l2:g}"] if choice.l2 else []
    parts += [f"k {choice.k}"] if choice.k else []
    if choice.layer is not None:
        parts.append(f"layer {choice.layer}")
    return ", ".join(parts) + f", validation {choice.accuracy:.1%}"


def _accuracy(result: FoldResult) -> float:
    return float((result.predicted == result.truth).mean())
