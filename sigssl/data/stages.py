"""Sleep stages: the one table of names, integers and spellings that files, metrics and plots share.

Stages are those of the AASM. Of Rechtschaffen and Kales' (R&K) six, S1 is N1, S2 is N2, S3 and S4 are N3; movement time is no
stage but unscored, and never wake.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Int64

from sigssl.errors import UserError, nearest

STAGES = ("W", "N1", "N2", "N3", "R")
UNSCORED = "?"
SLEEP = ("N1", "N2", "N3", "R")
EPOCH = 30.0  # seconds, where nothing else is said

# coarser sets: number of classes -> stage -> class, classes in order of first appearance
CONSOLIDATED: dict[int, dict[str, str]] = {
    5: {stage: stage for stage in STAGES},
    4: {"W": "W", "N1": "light", "N2": "light", "N3": "N3", "R": "R"},
    3: {"W": "W", "N1": "NREM", "N2": "NREM", "N3": "NREM", "R": "R"},
    2: {"W": "W", "N1": "sleep", "N2": "sleep", "N3": "sleep", "R": "sleep"},
}

_SPELLINGS = {
    "W": "W, Wake, Wake|0, Sleep stage W, Sleep stage Wake, Stage W, Stage Wake, Awake",
    "N1": "N1, NREM1, NREM 1, S1, Stage 1, Stage1, Stage N1, Sleep stage 1, Sleep stage N1, Sleep stage S1, Stage 1 sleep, "
    "Stage 1 sleep|1",
    "N2": "N2, NREM2, NREM 2, S2, Stage 2, Stage2, Stage N2, Sleep stage 2, Sleep stage N2, Sleep stage S2, Stage 2 sleep, "
    "Stage 2 sleep|2",
    "N3": "N3, NREM3, NREM 3, S3, Stage 3, Stage3, Stage N3, Sleep stage 3, Sleep stage N3, Sleep stage S3, Stage 3 sleep, "
    "Stage 3 sleep|3, N4, NREM4, NREM 4, S4, Stage 4, Stage4, Stage N4, Sleep stage 4, Sleep stage N4, Sleep stage S4, "
    "Stage 4 sleep, Stage 4 sleep|4",
    "R": "R, REM, REM sleep, REM sleep|5, REM|5, Stage R, Stage REM, Sleep stage R, Sleep stage REM",
    "?": "?, Unknown, Sleep stage ?, Sleep stage unknown, Stage ?, Unscored, Unscored|9, Sleep stage unscored, missing, UNS, "
    "OUT_OF_BOUNDS, Movement, Movement|6, Movement time, Sleep stage M, Sleep stage MT, MT, n/a",
}


def folded(label: str) -> str:
    """A label as it is compared: without case, with single spaces."""
    return " ".join(label.split()).casefold()


# every spelling met in the field, folded -> stage
LABELS = {folded(spelling): stage for stage, line in _SPELLINGS.items() for spelling in line.split(", ")}
# sleep that is not REM and not divided further: no stage, but enough for 3 and 2 classes
UNDIVIDED = frozenset(map(folded, ("NREM", "N", "Sleep stage N", "Sleep stage NREM", "Stage N", "Stage NREM", "NREM sleep")))

# two conventions of integer codes, which differ in what 4 means; 6 is movement, 7, 9 and -1 unscored in both
Codes = Literal["rk", "aasm"]
_COMMON = {"0": "W", "1": "N1", "2": "N2", "3": "N3", "6": "?", "7": "?", "9": "?", "-1": "?"}
CODES: dict[Codes, dict[str, str]] = {
    "rk": _COMMON | {"4": "N3", "5": "R"},  # 4 is S4 and 5 REM: Profusion, NSRR, ISRUC, and most exports
    "aasm": _COMMON | {"4": "R", "-2": "?"},  # 4 is REM: this package, YASA, and most data sets made for machine learning
}


def parse_labels(labels: Sequence[str], where: str, classes: int = 5) -> list[str]:
    """Stages from labels as they are written in the field.

    Args:
        labels: spellings of :data:`LABELS`, case and repeated spaces aside.
        where: the file, for the message.
        classes: of the set that is wanted; with 3 or 2 undivided NREM sleep is accepted too, and stands as N2.

    Returns:
        A token of :data:`STAGES` or :data:`UNSCORED` for each.

    Raises:
        UserError: unknown labels; all are listed with their counts.
    """
    known = LABELS if classes > 3 else LABELS | dict.fromkeys(UNDIVIDED, "N2")
    table = {label: known.get(folded(label)) for label in set(labels)}
    unknown = [label for label, stage in table.items() if stage is None]
    if unknown:
        raise UserError(f"{where}: {_listed(labels, unknown)}{_advice(unknown)}")
    return [table[label] or UNSCORED for label in labels]


def parse_codes(codes: Sequence[str], where: str, convention: Codes | None = None) -> list[str]:
    """Stages from integer codes.

    Args:
        codes: one integer for each epoch, as text.
        where: the file, for the message.
        convention: what 4 means (see :data:`CODES`); None goes by the codes themselves: 5 is only known to the R&K convention.

    Raises:
        UserError: unknown codes, listed with their counts; or a 4 without a 5, which may be S4 or REM, and no convention.
    """
    there = set(codes)
    if convention is None:
        if "4" in there and "5" not in there:
            raise UserError(
                f"{where}: has the code 4 {codes.count('4')} times and no 5: 4 is S4 where 5 is REM (R&K), and REM where there is "
                f"no 5. Say which: codes 'rk' or 'aasm'."
            )
        convention = "rk"
    unknown = [code for code in there if code not in CODES[convention]]
    if unknown:
        raise UserError(f"{where}: {_listed(codes, unknown)} Known codes: {', '.join(CODES[convention])}.")
    return [CODES[convention][code] for code in codes]


def to_int(tokens: Iterable[str]) -> Int64[np.ndarray, " epochs"]:
    """Stages as integers: W 0, N1 1, N2 2, N3 3, R 4, unscored -1.

    Raises:
        UserError: something that is no token (see :func:`parse_labels` for spellings).
    """
    tokens = list(tokens)
    table = {stage: number for number, stage in enumerate(STAGES)} | {UNSCORED: -1}
    unknown = [token for token in set(tokens) if token not in table]
    if unknown:
        raise UserError(f"stages: {_listed(tokens, unknown)} Expected {', '.join(table)}.")
    return np.array([table[token] for token in tokens], dtype=np.int64)


def to_tokens(numbers: Iterable[int | np.integer]) -> list[str]:
    """The reverse of :func:`to_int`; -1 is unscored.

    Raises:
        UserError: a number outside of -1 to 4.
    """
    names = (*STAGES, UNSCORED)  # -1 is the last
    plain = [int(number) for number in numbers]
    wrong = [number for number in plain if not -1 <= number < len(STAGES)]
    if wrong:
        raise UserError(f"stages: {wrong[0]} is no stage ({len(wrong)} such). Expected -1 to {len(STAGES) - 1}.")
    return [names[number] for number in plain]


def consolidate(tokens: Iterable[str], classes: int) -> list[str]:
    """Stages in a coarser set of 4, 3 or 2 classes; unscored stays."""
    table = CONSOLIDATED[classes] | {UNSCORED: UNSCORED}
    return [table[token] for token in tokens]


def _listed(labels: Sequence[str], unknown: Iterable[str]) -> str:
    counts = Counter(labels)
    strange = ", ".join(f"{label!r} {counts[label]} times" for label in sorted(unknown, key=lambda label: (-counts[label], label)))
    rest = ", ".join(f"{label!r} {n}" for label, n in counts.most_common() if label not in set(unknown))
    return f"unknown stage labels: {strange}; beside them {rest or 'nothing'}."


def _advice(unknown: Sequence[str]) -> str:
    undivided = [label for label in unknown if folded(label) in UNDIVIDED]
    if undivided:
        return f" {undivided[0]!r} is sleep that was not divided into N1 to N3: ask for 3 or 2 classes, or score it anew."
    return nearest(folded(unknown[0]), LABELS) + " Correct them in the file; nothing is dropped or taken for wake silently."
