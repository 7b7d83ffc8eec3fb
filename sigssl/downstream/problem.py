"""The problem that a probe solves: utterances with their classes, read from data directories, and the folds over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sigssl.data.datadir import DataDir, Utterance
from sigssl.downstream.protocol import Fold, Item, fixed_parts, k_folds, leave_one_speaker_out
from sigssl.downstream.settings import ProbeSettings
from sigssl.downstream.states import align_labels
from sigssl.downstream.stored import Store
from sigssl.errors import UserError

UNSCORED = "?"  # a frame without a label


@dataclass(frozen=True)
class Problem:
    """What is to be learned.

    Attributes:
        items: one row for each utterance.
        utterances: where their signals are, in the same order.
        labels: each item's labels: one class, or one token for every 10 ms at frame level.
        classes: sorted names; class number = position.
        folds: who is trained, selected and tested on.
        notes: what a reader of the numbers should know (utterances left out, shared speakers ...).
        store: stored signals of the utterances, where the arms read those and not the recordings.
    """

    items: list[Item]
    utterances: list[Utterance]
    labels: list[list[str]]
    classes: list[str]
    folds: list[Fold]
    notes: list[str]
    store: Store | None = None

    def numbers(self, labels: Sequence[str]) -> np.ndarray:
        """Class numbers; -1 for classes that training does not know, -2 for unscored frames."""
        known = {name: number for number, name in enumerate(self.classes)} | {UNSCORED: -2}
        return np.array([known.get(label, -1) for label in labels], dtype=np.int64)

    def targets(self, spans: np.ndarray, frame_shift: float | None) -> np.ndarray:
        """Class numbers of all rows: one for each item, or, given a frame shift in seconds, one for each frame of `spans`."""
        out = np.empty(int(spans[:, 1].max()), dtype=np.int64)
        for item, labels, (start, stop) in zip(self.items, self.labels, spans.tolist(), strict=True):
            if frame_shift is not None:
                labels = align_labels(labels, stop - start, frame_shift, f"utterance {item.id}")
            out[start:stop] = self.numbers(labels)
        return out


def read_problem(parts: dict[str, DataDir], settings: ProbeSettings, folds: str = "") -> Problem:
    """Utterances, classes and folds.

    Args:
        parts: data directories under "train", "dev" (may lack) and "test", or a single one under "all".
        settings: level, target, and how folds and validation data are made.
        folds: "loso" for leave-one-speaker-out or a number of folds, for "all"; empty for given parts.

    Raises:
        UserError: no labels, fewer than two classes, an utterance in two parts, or any leakage.
    """
    items: list[Item] = []
    utterances: list[Utterance] = []
    labels: list[list[str]] = []
    notes: list[str] = []
    for part, data in parts.items():
        found = _labelled(data, part, settings, notes)
        if part in ("train", "all"):
            found = _at_most(found, settings, notes)
        for item, utterance, its in found:
            items.append(item)
            utterances.append(utterance)
            labels.append(its)
    _refuse_doubles(items)
    made = _folds(items, settings, folds)
    training = {row for fold in made for row in fold.train.tolist()}
    classes = sorted({label for row in training for label in labels[row]} - {UNSCORED})
    if len(classes) < 2:
        raise UserError(
            f"the training data hold {len(classes)} class(es) of {settings.target}: {classes}; a probe needs two or more."
        )
    problem = Problem(items, utterances, labels, classes, made, notes)
    unknown = sum(label not in classes and label != UNSCORED for its in labels for label in its)
    if unknown:
        notes.append(
            f"{unknown} of {sum(map(len, labels))} labels are of classes that the training data lack; they count as wrong."
        )
    return problem


def _labelled(data: DataDir, part: str, settings: ProbeSettings, notes: list[str]) -> list[tuple[Item, Utterance, list[str]]]:
    out = []
    everyone = data.utterances()
    for utterance in everyone:
        if settings.target == "phones":
            labels = data.phones.get(utterance.id, [])
        else:
            table = data.utt2label if settings.target == "label" else data.utt2spk
            labels = [table[utterance.id]] if utterance.id in table else []
        if labels:
            label = labels[0] if settings.level == "utterance" else ""
            recording = str(Path(utterance.path))
            out.append((Item(utterance.id, utterance.speaker or utterance.id, recording, label, part), utterance, labels))
    file = {"label": "utt2label", "speaker": "utt2spk", "phones": "phones"}[settings.target]
    if not out:
        raise UserError(
            f"{data.path}: no utterance has a {settings.target}: {data.path / file} is absent, empty or of other utterances."
        )
    if len(out) < len(everyone):
        notes.append(
            f"{len(everyone) - len(out)} of {len(everyone)} utterances of {data.path} have no {settings.target} and are left out."
        )
    if not data.utt2spk:
        notes.append(f"{data.path} has no utt2spk: every utterance counts as a speaker of its own.")
    return out


def _at_most(
    found: list[tuple[Item, Utterance, list[str]]], settings: ProbeSettings, notes: list[str]
) -> list[tuple[Item, Utterance, list[str]]]:
    """At frame level, training utterances drawn at random until they hold `max_frames` labels, in their old order."""
    total = sum(len(labels) for _, _, labels in found)
    if settings.level == "utterance" or total <= settings.max_frames:
        return found
    kept, frames = set(), 0
    for index in np.random.default_rng(settings.seed).permutation(len(found)).tolist():
        kept.add(index)
        frames += len(found[index][2])
        if frames >= settings.max_frames:
            break
    notes.append(
        f"{len(kept)} of {len(found)} training utterances are used ({frames} of {total} frames; max_frames={settings.max_frames})."
    )
    return [entry for index, entry in enumerate(found) if index in kept]


def _folds(items: list[Item], settings: ProbeSettings, folds: str) -> list[Fold]:
    apart = settings.target != "speaker" and not settings.shared_speakers
    if not folds:
        return fixed_parts(items, settings.seed, settings.part, apart)
    if folds == "loso":
        if settings.target == "speaker":
            raise UserError(
                "a speaker who is left out cannot be recognised: with target=speaker give --folds a number, 5 for instance."
            )
        return leave_one_speaker_out(items, settings.inner, settings.inner_folds, settings.part, settings.seed)
    if not folds.isdigit():
        raise UserError(f"--folds {folds!r}: expected 'loso' (leave one speaker out) or a number of folds.")
    if apart:
        raise UserError(
            f"--folds {folds} divides utterances, so that speakers would be in training and test data; use --folds loso, or "
            "allow it with --shared_speakers true (the report then says so)."
        )
    return k_folds(items, int(folds), settings.part, settings.seed)


def _refuse_doubles(items: Sequence[Item]) -> None:
    seen: dict[str, str] = {}
    for item in items:
        if item.id in seen:
            raise UserError(
                f"utterance {item.id!r} is in the {seen[item.id]} part and in the {item.part} part; parts must not overlap."
            )
        seen[item.id] = item.part
