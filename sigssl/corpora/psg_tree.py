"""What the sleep corpora share: pairing files by identifier, trimming, and writing nights as data directories.

A night is an utterance: `segments` says which part of the recording is scored and kept, `stages` holds a token per epoch of it.
What cannot be used is set aside with its reason in `quarantine.tsv`; what was kept and left out is counted in `nights.json`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sigssl.corpora.base import QUARANTINE, token
from sigssl.data.datadir import DataDir, Segment
from sigssl.data.hypnogram import Hypnogram, mask, overlap, read_hypnogram, trim
from sigssl.data.io import write_json, write_text
from sigssl.data.psg import open_psg
from sigssl.data.stages import EPOCH, STAGES, UNSCORED
from sigssl.errors import UserError

SUMMARY = "nights.json"


class Recorded(NamedTuple):
    """A night on its way into a data directory.

    Attributes:
        id: of the night; begins with the person.
        person: whose it is.
        recording: the file with the signals.
        hypnogram: the file with the stages, None where the night is unscored.
        epoch: seconds of an epoch.
        scorer: which of two scorers' files it is.
    """

    id: str
    person: str
    recording: Path
    hypnogram: Path | None
    epoch: float = EPOCH
    scorer: int | None = None


class Aside(NamedTuple):
    """A file that is not used: its identifier, the file, and why."""

    id: str
    path: Path
    reason: str


class Prepared(NamedTuple):
    """A night as it is written: seconds of the recording that are kept (end None: all of it), and its stages."""

    start: float
    end: float | None
    seconds: float
    hypnogram: Hypnogram | None


def pair(
    recordings: Iterable[Path], hypnograms: Iterable[Path], key: Callable[[Path], str | None]
) -> tuple[dict[str, tuple[Path, Path]], list[Aside]]:
    """Recordings and hypnograms that have the same identifier; the order of files plays no part.

    Args:
        recordings: files with signals.
        hypnograms: files with stages.
        key: the identifier in a file's name, None where it has none.

    Returns:
        identifier -> (recording, hypnogram), and what has no partner, two partners, or no identifier.
    """
    found: tuple[dict[str, list[Path]], dict[str, list[Path]]] = ({}, {})
    aside: list[Aside] = []
    for there, paths in zip(found, (recordings, hypnograms), strict=True):
        for path in sorted(paths):
            name = key(path)
            if name is None:
                aside.append(Aside(token(path.stem), path, "its name holds no identifier of this corpus"))
            else:
                there.setdefault(name, []).append(path)
    pairs = {}
    for name in sorted({*found[0], *found[1]}):
        signals, stages = found[0].get(name, []), found[1].get(name, [])
        if len(signals) == len(stages) == 1:
            pairs[name] = (signals[0], stages[0])
            continue
        if len(signals) > 1 or len(stages) > 1:
            many = signals if len(signals) > 1 else stages
            reason = f"{len(many)} files of one night, and no way to tell which is meant: {', '.join(p.name for p in many)}"
        else:
            reason = f"no {'recording' if stages else 'hypnogram'} with the identifier {name}"
        aside += [Aside(name, path, reason) for path in [*signals, *stages]]
    return pairs, aside


def write_nights(
    out: Path, parts: Mapping[str, Sequence[Recorded]], aside: Sequence[Aside] = (), minutes: float = 30.0, nj: int = 4
) -> dict[str, DataDir]:
    """Write each part as the data directory `out/<part>`.

    Args:
        out: the folder to write to.
        parts: name -> nights.
        aside: files that are not used already; listed with every part.
        minutes: of the recording that are kept before the first and after the last epoch of sleep; below 0 all is kept.
        nj: how many files are read at a time.

    Raises:
        UserError: a part of which no night can be used; nights of one part with epochs of unlike length; an id twice.
    """
    made = {}
    for name, nights in parts.items():
        twice = [key for key, count in Counter(night.id for night in nights).items() if count > 1]
        if twice:
            raise UserError(f"{out / name}: {len(twice)} ids of nights occur twice, the first {twice[0]!r}. Ids must be unique.")
        with ThreadPoolExecutor(max(1, nj)) as pool:
            prepared = list(pool.map(partial(attempt, minutes=minutes), nights))
        bad = [*aside, *(result for result in prepared if isinstance(result, Aside))]
        good = [(night, result) for night, result in zip(nights, prepared, strict=True) if isinstance(result, Prepared)]
        if not good:
            shown = "\n".join(f"  {one.path}: {one.reason}" for one in bad[:5])
            raise UserError(f"{out / name}: none of {len(nights)} nights can be used.\n{shown}")
        made[name] = write_part(out / name, good, bad, minutes)
    return made


def attempt(night: Recorded, minutes: float) -> Prepared | Aside:
    """Read a night's length and stages; what is wrong with it becomes the reason why it is set aside."""
    try:
        return read_night(night, minutes)
    except UserError as error:
        return Aside(night.id, night.recording, " ".join(str(error).split()))


def read_night(night: Recorded, minutes: float) -> Prepared:
    """The part of a night that is scored and near to sleep.

    Raises:
        UserError: the recording or the hypnogram cannot be read, or the two do not overlap.
    """
    psg = open_psg(night.recording)
    if night.hypnogram is None:
        return Prepared(0.0, None, psg.duration, None)
    scored = read_hypnogram(night.hypnogram, night.epoch, night.scorer, psg.start)
    scored = mask(overlap(scored, psg.duration), psg.gaps)
    if minutes >= 0:
        scored = trim(scored, minutes)
    return Prepared(scored.onset, scored.end, scored.end - scored.onset, scored)


def write_part(folder: Path, good: Sequence[tuple[Recorded, Prepared]], bad: Sequence[Aside], minutes: float) -> DataDir:
    """Write one part, its counts and what was set aside."""
    lengths = sorted({night.epoch for night, result in good if result.hypnogram})
    if len(lengths) > 1:
        raise UserError(f"{folder}: nights with epochs of {lengths[0]:g} and {lengths[1]:g} s; a part holds one length only.")
    names = {night.id: token(night.id) for night, _ in good}
    cut = any(result.end is not None for _, result in good)
    directory = DataDir(
        path=folder,
        wav={names[night.id]: str(night.recording.absolute()) for night, _ in good},
        segments={names[n.id]: Segment(names[n.id], p.start, -1.0 if p.end is None else p.end) for n, p in good} if cut else None,
        utt2spk={names[night.id]: night.person for night, _ in good},
        utt2dur={names[night.id]: round(result.seconds, 6) for night, result in good},
        stages={names[night.id]: result.hypnogram.stages for night, result in good if result.hypnogram},
        epoch_length=lengths[0] if lengths else EPOCH,
    )
    directory.write()
    quarantine = folder / QUARANTINE
    quarantine.unlink(missing_ok=True)
    if bad:
        write_text(quarantine, "".join(f"{one.id}\t{one.path}\t{one.reason}\n" for one in bad))
    write_json(folder / SUMMARY, summary(good, bad, minutes))
    return directory


def summary(good: Sequence[tuple[Recorded, Prepared]], bad: Sequence[Aside], minutes: float) -> dict[str, Any]:
    """How many epochs of which stage are kept, by which rule, and what each night lost."""
    counts = Counter(stage for _, result in good if result.hypnogram for stage in result.hypnogram.stages)
    rule = f"{minutes:g} min before the first and after the last epoch of sleep (N1, N2, N3, R)" if minutes >= 0 else "all is kept"
    return {
        "rule": rule,
        "nights": len(good),
        "persons": len({night.person for night, _ in good}),
        "unscored_nights": sum(result.hypnogram is None for _, result in good),
        "epochs": {stage: counts[stage] for stage in (*STAGES, UNSCORED)},
        "set_aside": len(bad),
        "notes": {night.id: list(result.hypnogram.notes) for night, result in good if result.hypnogram and result.hypnogram.notes},
    }
