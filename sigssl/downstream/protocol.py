"""Who is trained on, selected on and tested on: fixed parts or folds, with every kind of leakage refused.

All splits are arrays of row numbers into one table of items. Whatever chooses anything gets `train` and the inner splits made from
it; `test` is used once, to predict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sigssl.errors import UserError

Split = tuple[np.ndarray, np.ndarray]  # rows to train on, rows to select on


@dataclass(frozen=True)
class Item:
    """One utterance of a probe: `part` is train, dev, test, or all under cross-validation."""

    id: str
    speaker: str
    recording: str
    label: str
    part: str = "all"


@dataclass(frozen=True)
class Fold:
    """One train/test division.

    Attributes:
        name: the test speaker (leave-one-speaker-out), the number of the fold, or "test".
        index: from 1.
        train: rows that the final probe is trained on.
        inner: pairs (train rows, validation rows) for selection.
        test: rows predicted once, at the end.
    """

    name: str
    index: int
    train: np.ndarray
    inner: tuple[Split, ...]
    test: np.ndarray


def fixed_parts(items: Sequence[Item], seed: int = 0, part: float = 0.1, speakers_apart: bool = True) -> list[Fold]:
    """The one fold of given train, dev and test parts; without dev, `part` of train is held out for selection.

    Raises:
        UserError: an empty part, an item in two parts, or one that :func:`check` refuses.
    """
    rows = {
        name: np.array([i for i, item in enumerate(items) if item.part == name], dtype=int) for name in ("train", "dev", "test")
    }
    for name in ("train", "test"):
        if not len(rows[name]):
            raise UserError(f"the {name} part holds no labelled utterance: check --{name}.")
    train, dev = rows["train"], rows["dev"]
    inner = (train, dev) if len(dev) else hold_out(items, train, part, seed)
    fold = Fold("test", 1, train, (inner,), rows["test"])
    check(items, fold, speakers_apart)
    return [fold]


def leave_one_speaker_out(
    items: Sequence[Item], inner: str = "speakers", inner_folds: int = 4, part: float = 0.1, seed: int = 0
) -> list[Fold]:
    """Every speaker is the test set once; selection is on training speakers in turn, or on a part of the training data.

    Args:
        items: the table.
        inner: "speakers" or "part".
        inner_folds: groups of training speakers held out in turn; one group per speaker where there are fewer speakers.
        part: share held out where `inner` is "part".
        seed: of the groups and of the part.

    Raises:
        UserError: fewer than three speakers (two for "part").
    """
    speakers = sorted({item.speaker for item in items})
    least = 3 if inner == "speakers" else 2
    if len(speakers) < least:
        raise UserError(
            f"leave-one-speaker-out with inner={inner} needs {least} speakers or more, the data have {len(speakers)}: "
            f"{', '.join(speakers)}. Use --inner part, or given --train/--dev/--test parts."
        )
    of = np.array([item.speaker for item in items])
    folds = []
    for number, speaker in enumerate(speakers, 1):
        train, test = np.flatnonzero(of != speaker), np.flatnonzero(of == speaker)
        if inner == "speakers":
            splits = _speaker_groups(of, train, inner_folds, seed + number)
        else:
            splits = (hold_out(items, train, part, seed + number),)
        folds.append(Fold(speaker, number, train, splits, test))
    for fold in folds:
        check(items, fold, speakers_apart=True)
    return folds


def k_folds(items: Sequence[Item], k: int, part: float = 0.1, seed: int = 0) -> list[Fold]:
    """`k` folds over utterances with classes spread evenly, recordings never crossing: for speaker identification.

    Raises:
        UserError: fewer recordings than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    recordings = [item.recording for item in items]
    if len(set(recordings)) < k or k < 2:
        raise UserError(f"--folds {k} needs 2 or more folds and as many recordings, the data have {len(set(recordings))}.")
    labels = [item.label for item in items]
    folds = []
    splitter = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
    for number, (train, test) in enumerate(splitter.split(labels, labels, recordings), 1):
        folds.append(Fold(str(number), number, train, (hold_out(items, train, part, seed + number),), test))
    for fold in folds:
        check(items, fold, speakers_apart=False)
    return folds


def hold_out(items: Sequence[Item], rows: np.ndarray, part: float, seed: int) -> Split:
    """Divide `rows`: about `part` of every class's recordings go to validation, whole recordings only; the rest stays.

    Raises:
        UserError: no class has two recordings, so that nothing can be held out.
    """
    generator = np.random.default_rng(seed)
    class_of: dict[str, str] = {}
    for row in rows:
        class_of.setdefault(items[row].recording, items[row].label)
    held: set[str] = set()
    for label in sorted(set(class_of.values())):
        mine = sorted(recording for recording, its in class_of.items() if its == label)
        count = min(max(1, round(part * len(mine))), len(mine) - 1)
        held.update(generator.permutation(mine)[:count].tolist())
    mask = np.array([items[row].recording in held for row in rows])
    if not mask.any():
        raise UserError(
            "every class has one recording only in the training data: nothing can be held out for selection; give --dev."
        )
    return rows[~mask], rows[mask]


def check(items: Sequence[Item], fold: Fold, speakers_apart: bool) -> None:
    """Refuse leakage: a recording (and, with `speakers_apart`, a speaker) of the test rows that training or selection sees.

    Raises:
        UserError: naming the part, the fold and the first few recordings or speakers.
    """
    tested = fold.test
    for train, dev in fold.inner:
        _apart(items, train, dev, "recording", f"training and validation data (fold {fold.name})")
    seen = np.unique(np.concatenate([fold.train, *(rows for split in fold.inner for rows in split)]))
    _apart(items, seen, tested, "recording", f"training and test data (fold {fold.name})")
    if speakers_apart:
        _apart(items, seen, tested, "speaker", f"training and test data (fold {fold.name})")


def check_pretraining(fold: Fold, items: Sequence[Item], pretrained_on: Sequence[str] | None, model: str) -> str:
    """Whether an encoder was pretrained without the test speakers.

    Args:
        fold: whose test speakers count.
        items: the table.
        pretrained_on: the speakers that the model's own record (`meta.data.speakers`) names; None where it has no such record.
        model: its path, for the message.

    Returns:
        A sentence for the report.

    Raises:
        UserError: a test speaker was pretrained on.
    """
    if pretrained_on is None:
        return f"{model}: keeps no record of its pretraining speakers; that the test speakers are not among them is unchecked."
    leaked = sorted({items[row].speaker for row in fold.test} & set(pretrained_on))
    if leaked:
        raise UserError(
            f"{model}: was pretrained on test speakers of fold {fold.name}: {_few(leaked)}. Pretrain without them (one encoder per "
            "fold: --model 'exp/name_{fold}'), or say --transductive true if this is meant; the report then says so."
        )
    return f"{model}: pretrained on {len(set(pretrained_on))} speakers, none of them a test speaker of its fold."


def _apart(items: Sequence[Item], one: np.ndarray, other: np.ndarray, what: str, where: str) -> None:
    shared = {getattr(items[row], what) for row in one} & {getattr(items[row], what) for row in other}
    if shared:
        remedy = (
            "divide them with `sigssl split --by speaker`, or allow it with --shared_speakers true (the report then says so)"
            if what == "speaker"
            else "one recording's utterances belong to one part"
        )
        raise UserError(f"{len(shared)} {what}s are in both {where}: {_few(sorted(shared))}; {remedy}.")


def _few(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _speaker_groups(of: np.ndarray, train: np.ndarray, groups: int, seed: int) -> tuple[Split, ...]:
    speakers = np.random.default_rng(seed).permutation(sorted(set(of[train])))
    held = [np.isin(of[train], group) for group in np.array_split(speakers, min(groups, len(speakers)))]
    return tuple((train[~mask], train[mask]) for mask in held)
