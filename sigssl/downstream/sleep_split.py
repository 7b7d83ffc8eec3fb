"""Which subjects train, select and test: folds by subject, made once, saved with their hash, and checked for leakage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sigssl.data.io import read_json, write_json
from sigssl.data.split import shuffled
from sigssl.errors import UserError

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class SubjectFold:
    """Subjects of one fold; the parts share nobody."""

    name: str
    train: list[str]
    validation: list[str]
    test: list[str]


def make_folds(subjects: Sequence[str], folds: int | str = 5, validation: float = 0.125, seed: int = 0) -> list[SubjectFold]:
    """Cross-validation over subjects.

    Args:
        subjects: all of them; order and repetition do not matter.
        folds: how many, or "loso": each subject by itself is the test part once.
        validation: share of the subjects who are not tested that is held out for every choice; at least one.
        seed: of the orders, which are hashes of (seed, subject) and so the same everywhere.

    Raises:
        UserError: fewer subjects than folds, or fewer than three.
    """
    everyone = shuffled(set(subjects), seed)
    count = len(everyone) if folds == "loso" else int(folds)
    if len(everyone) < max(3, count) or count < 2:
        raise UserError(f"{folds} folds over {len(everyone)} subjects: at least 2 folds, 3 subjects, and a subject for every fold.")
    made = []
    for index in range(count):
        test = everyone[index::count]
        rest = shuffled(set(everyone) - set(test), seed + 1 + index)
        held = max(1, round(validation * len(rest)))
        name = test[0] if folds == "loso" else str(index + 1)
        made.append(SubjectFold(name, sorted(rest[held:]), sorted(rest[:held]), sorted(test)))
    return made


def part_of(subjects: Sequence[str], fraction: float, seed: int = 0) -> list[str]:
    """The first `fraction` of the subjects in the order of `seed`, at least one; larger fractions hold the smaller ones."""
    return sorted(shuffled(set(subjects), seed)[: max(1, round(fraction * len(set(subjects))))])


def split_hash(folds: Sequence[SubjectFold]) -> str:
    """SHA-256 of who is where."""
    return hashlib.sha256(json.dumps([asdict(fold) for fold in folds], sort_keys=True).encode()).hexdigest()


def save_split(path: Path, folds: Sequence[SubjectFold], **settings: Any) -> str:
    """Write the folds as JSON with their hash, which is returned."""
    digest = split_hash(folds)
    write_json(path, {**settings, "folds": [asdict(fold) for fold in folds], "sha256": digest})
    return digest


def read_split(path: Path) -> list[SubjectFold]:
    """Read folds; UserError where the file is no split, or is not what its hash says.

    A split.json of `sigssl split`, with parts train, dev and test, is one fold of that name.
    """
    content = read_json(path)
    if "parts" in content:
        return [_one_fold(path, content["parts"])]
    try:
        folds = [SubjectFold(**fold) for fold in content["folds"]]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: is no split file: expected `folds`, each with name, {', '.join(PARTS)} ({error}).") from error
    if content.get("sha256", split_hash(folds)) != split_hash(folds):
        raise UserError(
            f"{path}: its folds are not those of its sha256: the file was changed. Remove the sha256 if this was meant."
        )
    return folds


def _one_fold(path: Path, parts: dict[str, Any]) -> SubjectFold:
    """The parts of `sigssl split` as a fold; dev is for validation."""
    try:
        train, validation, test = (parts[name]["speakers"] for name in ("train", "dev", "test"))
    except KeyError as missing:
        raise UserError(f"{path}: has no part {missing}; expected train, dev and test.") from None
    return SubjectFold("1", train, validation, test)


def check_folds(folds: Sequence[SubjectFold], subjects: Sequence[str], pretrained_on: Sequence[str] | None = None) -> list[str]:
    """Refuse leakage.

    Args:
        folds: to check.
        subjects: who has data; a fold may name no one else.
        pretrained_on: subjects of the encoder's pretraining, from its meta; None where there is no encoder or no record.

    Returns:
        Sentences for the report.

    Raises:
        UserError: a subject in two parts, unknown, tested twice, or tested and pretrained on; a part without anyone.
    """
    for fold in folds:
        parts = {part: set(getattr(fold, part)) for part in PARTS}
        for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
            if both := sorted(parts[one] & parts[other]):
                raise UserError(f"fold {fold.name}: {', '.join(both[:5])} are in both {one} and {other}.")
        if unknown := sorted(set.union(*parts.values()) - set(subjects)):
            raise UserError(f"fold {fold.name}: no data of {', '.join(unknown[:5])}.")
        if empty := [part for part in PARTS if not parts[part]]:
            raise UserError(f"fold {fold.name}: nobody is in {' and '.join(empty)}.")
        if seen := sorted(parts["test"] & set(pretrained_on or ())):
            raise UserError(
                f"fold {fold.name}: the encoder was pretrained on test subjects: {', '.join(seen[:5])}. Pretrain without them."
            )
    tested = [subject for fold in folds for subject in fold.test]
    if len(set(tested)) < len(tested):
        raise UserError(f"{next(s for s in tested if tested.count(s) > 1)} is tested in two folds.")
    if pretrained_on is None:
        return []
    return [f"The encoder was pretrained on {len(set(pretrained_on))} subjects, none of them a test subject."]
