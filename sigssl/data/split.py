"""Splitting a data directory by speaker, seeded and saved; and the check that two parts share nobody."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from sigssl.data.datadir import DataDir
from sigssl.data.io import write_json
from sigssl.errors import UserError

By = Literal["speaker", "recording", "utterance"]
SPLIT = "split.json"


def split(data: DataDir, parts: Mapping[str, float], *, by: By = "speaker", seed: int = 0) -> dict[str, DataDir]:
    """Split into parts that share no speaker.

    Speakers come in an order that is a hash of (seed, speaker), so it depends on no library's version nor on the other speakers;
    those with much speech come first, by powers of 2 of it. Each goes to the part that lacks most of its share (of the hours where
    utt2dur is there, else of the utterances).

    Args:
        data: the directory.
        parts: name -> share; the shares sum to 1.
        by: what must not be divided. `utterance` lets speakers occur on both sides: results then say nothing about new speakers.
        seed: of the order.

    Raises:
        UserError: shares that do not sum to 1, fewer speakers than parts, or utterances without a speaker.
    """
    if not math.isclose(sum(parts.values()), 1, abs_tol=1e-6) or min(parts.values()) <= 0:
        raise UserError(f"the shares {dict(parts)} sum to {sum(parts.values()):g}; expected positive shares that sum to 1.")
    groups = grouped(data, by)
    if len(groups) < len(parts):
        raise UserError(
            f"{data.path}: {len(groups)} {by}(s) cannot fill {len(parts)} parts. Ask for fewer parts, or split by utterance."
        )
    size = _sizes(data, groups)
    lacking = {name: share * sum(size.values()) for name, share in parts.items()}
    chosen: dict[str, list[str]] = {name: [] for name in parts}
    order = sorted(shuffled(groups, seed), key=lambda group: -math.frexp(size[group])[1])
    for number, group in enumerate(order):
        empty = [name for name in parts if not chosen[name]]
        candidates = empty if len(order) - number <= len(empty) else list(parts)  # no part stays empty
        name = max(candidates, key=lambda part: lacking[part])
        chosen[name].append(group)
        lacking[name] -= size[group]
    return {name: _part(data, groups, taken, name) for name, taken in chosen.items()}


def folds(
    data: DataDir, number: int | Literal["loso"], *, by: By = "speaker", seed: int = 0, dev: bool = True
) -> list[dict[str, DataDir]]:
    """Cross-validation: every speaker is tested exactly once.

    Args:
        data: the directory.
        number: of folds; `loso` makes one for each speaker (leave one speaker out).
        by: what must not be divided.
        seed: of the assignment.
        dev: whether each fold has a `dev` part, the group that the next fold tests, for choosing settings without the test part.

    Returns:
        For each fold, counted from 1 in the paths (`fold1/train`), `train`, `test` and, with `dev`, `dev`.

    Raises:
        UserError: fewer speakers than folds, or fewer than 3 folds with `dev` (2 without).
    """
    groups = grouped(data, by)
    count = len(groups) if number == "loso" else number
    least = 3 if dev else 2
    if not least <= count <= len(groups):
        raise UserError(
            f"{data.path}: {count} folds of {len(groups)} {by}(s); expected {least} to {len(groups)} folds"
            + (", since train, dev and test need one group each (2 are enough without dev)." if dev else ".")
        )
    if number == "loso":
        tested = [[group] for group in sorted(groups)]
    else:
        even = split(data, {str(i): 1 / count for i in range(count)}, by=by, seed=seed)
        tested = [sorted(grouped(part, by)) for part in even.values()]
    made = []
    for i, test in enumerate(tested):
        away = {**({"dev": tested[(i + 1) % count]} if dev else {}), "test": test}
        rest = groups.keys() - set(itertools.chain.from_iterable(away.values()))
        chosen = {"train": sorted(rest), **away}
        made.append({name: _part(data, groups, taken, f"fold{i + 1}/{name}") for name, taken in chosen.items()})
    return made


def save(parts: Mapping[str, DataDir], out: Path | str, source: DataDir, **settings: Any) -> None:
    """Write each part as `out/<name>`, and then `out/split.json`: seed, hash of the source, who is in which part.

    Args:
        parts: name (which may hold a slash) -> directory.
        out: the folder.
        source: what was split.
        settings: kept as they are (by, seed, ...).
    """
    out = Path(out)
    (out / SPLIT).unlink(missing_ok=True)  # it says that the parts are whole, so it goes first and comes last
    for name, part in parts.items():
        part.write(out / name)
    content = {
        name: {
            "utterances": len(part),
            "hours": round(sum(part.utt2dur.values()) / 3600, 4),
            "speakers": sorted(set(part.utt2spk.values())),
        }
        for name, part in parts.items()
    }
    write_json(out / SPLIT, {**settings, "source": str(source.path), "source_sha256": fingerprint(source), "parts": content})


def fingerprint(data: DataDir) -> str:
    """SHA-256 over utterance ids, their recordings, times and speakers; it does not change when the data move."""
    digest = hashlib.sha256()
    for key in data.ids():
        segment = data.segments[key] if data.segments else ""
        digest.update(f"{key}\t{segment}\t{data.utt2spk.get(key, '')}\n".encode())
    return digest.hexdigest()


def check_leakage(*data: DataDir, allow: Collection[str] = ()) -> None:
    """Raise when two directories share a speaker, a recording, an utterance or an audio file.

    Args:
        data: the parts: train, dev, test.
        allow: of `speaker`, `recording`, `utterance`, `file`, those that may be shared.

    Raises:
        UserError: naming what is shared, and by which two directories.
    """
    known = [(d, _identity(d)) for d in data]
    for (first, a), (second, b) in itertools.combinations(known, 2):
        for kind, mine in a.items():
            shared = sorted(mine & b[kind])
            if shared and kind not in allow:
                listed = ", ".join(repr(s) for s in shared[:5]) + (", ..." if len(shared) > 5 else "")
                raise UserError(
                    f"{first.path} and {second.path} share {len(shared)} {kind}(s): {listed}. What is tested must not have been "
                    f"trained on: split with 'sigssl split --by speaker'."
                )


def grouped(data: DataDir, by: By) -> dict[str, list[str]]:
    """Speaker (recording, utterance) -> its utterance ids, both sorted.

    Raises:
        UserError: utterances without a speaker.
    """
    groups: dict[str, list[str]] = {}
    for key in data.ids():
        if by == "speaker":
            if key not in data.utt2spk:
                raise UserError(f"{data.path / 'utt2spk'}: no speaker for utterance {key!r}. Add it, or split by recording.")
            group = data.utt2spk[key]
        else:
            group = data.segments[key].recording if by == "recording" and data.segments else key
        groups.setdefault(group, []).append(key)
    return dict(sorted(groups.items()))


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """The names in an order that depends on (seed, name) alone: the same everywhere and always, whatever else there is."""
    return sorted(names, key=lambda name: (hashlib.sha256(f"{seed}:{name}".encode()).digest(), name))


def _part(data: DataDir, groups: Mapping[str, list[str]], taken: Iterable[str], name: str) -> DataDir:
    """The groups as a directory of that name, for messages; paths no longer count from the source's folder."""
    part = data.subset(itertools.chain.from_iterable(groups[group] for group in taken)).portable()
    return replace(part, path=Path(name))


def _sizes(data: DataDir, groups: Mapping[str, Sequence[str]]) -> dict[str, float]:
    timed = all(key in data.utt2dur for keys in groups.values() for key in keys)
    return {group: sum(data.utt2dur[key] if timed else 1.0 for key in keys) for group, keys in groups.items()}


def _identity(data: DataDir) -> dict[str, set[str]]:
    return {
        "speaker": set(data.utt2spk.values()),
        "recording": set(data.wav),
        "utterance": set(data.ids()),
        "file": {str(Path(data.resolve(key)).absolute()) for key in data.wav},
    }
