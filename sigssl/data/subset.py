"""Choosing a part of a data directory."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

from sigssl.data import audio
from sigssl.data.datadir import DataDir
from sigssl.data.split import shuffled
from sigssl.errors import UserError


def choose(
    data: DataDir,
    *,
    utts: Collection[str] | None = None,
    spks: Collection[str] | None = None,
    not_spks: Collection[str] | None = None,
    per_class: int | None = None,
    hours: float | None = None,
    first: int | None = None,
    seed: int = 0,
) -> DataDir:
    """A part of a directory; several conditions are applied in the order of the arguments.

    Args:
        data: the directory.
        utts: these utterances.
        spks: all utterances of these speakers.
        not_spks: none of these speakers.
        per_class: of each class of utt2label this many, drawn with `seed` (all where there are fewer).
        hours: utterances drawn with `seed` until they last this long.
        first: the first of the sorted ids.
        seed: of the draws.

    Raises:
        UserError: unknown ids or speakers, no labels for `per_class`, or nothing left.
    """
    ids = data.ids()
    if utts is not None:
        ids = list(data.subset(utts).ids())  # which names ids that are not there
    if spks is not None:
        wanted = _known_speakers(data, spks)
        ids = [key for key in ids if data.utt2spk.get(key) in wanted]
    if not_spks is not None:
        unwanted = _known_speakers(data, not_spks)
        ids = [key for key in ids if data.utt2spk.get(key) not in unwanted]
    if per_class is not None:
        ids = _of_each_class(data, ids, per_class, seed)
    if hours is not None:
        ids = _lasting(data, ids, hours * 3600, seed)
    ids = sorted(ids)[:first]
    if not ids:
        raise UserError(f"{data.path}: no utterance fulfils these conditions.")
    return data.subset(ids)


def balanced_share(data: DataDir, ids: Sequence[str], fraction: float, seed: int = 0) -> list[str]:
    """A share of some utterances that takes the same share of every speaker's; a smaller share is part of a larger one.

    Args:
        data: the directory, for its speakers; an utterance without one is a speaker by itself.
        ids: utterances to draw from.
        fraction: the share, above 0; at least one utterance is taken.
        seed: of the draw.

    Returns:
        Ids, sorted.
    """
    own: dict[str, list[str]] = {}
    for key in shuffled(ids, seed):
        own.setdefault(data.utt2spk.get(key, key), []).append(key)
    speakers = shuffled(own, seed)
    # the n-th of a speaker's N utterances stands at (n + offset) / N: speakers run through their utterances in step
    places = {
        key: (number + (place + 0.5) / len(speakers)) / len(own[speaker])
        for place, speaker in enumerate(speakers)
        for number, key in enumerate(own[speaker])
    }
    return sorted(sorted(places, key=places.__getitem__)[: max(1, round(fraction * len(ids)))])


def _known_speakers(data: DataDir, spks: Collection[str]) -> set[str]:
    unknown = sorted(set(spks) - set(data.utt2spk.values()))
    if unknown:
        raise UserError(f"{data.path / 'utt2spk'}: no speaker {unknown[0]!r} ({len(unknown)} unknown). Check the list.")
    return set(spks)


def _of_each_class(data: DataDir, ids: Sequence[str], number: int, seed: int) -> list[str]:
    if not data.utt2label:
        raise UserError(f"{data.path}: has no utt2label, so there are no classes to draw from.")
    taken: dict[str, list[str]] = {}
    for key in shuffled((key for key in ids if key in data.utt2label), seed):
        taken.setdefault(data.utt2label[key], []).append(key)
    return list(itertools.chain.from_iterable(keys[:number] for keys in taken.values()))


def _lasting(data: DataDir, ids: Sequence[str], seconds: float, seed: int) -> list[str]:
    """Utterances drawn until they last `seconds`; a duration that the tables lack is read from the file's header."""
    known = {u.id: u for u in data.utterances()}
    taken, total = [], 0.0
    for key in shuffled(ids, seed):
        if total >= seconds:
            break
        u = known.get(key)
        length = data.utt2dur.get(key) or (u.duration if u else None)
        if length is None and u is not None:
            length = audio.info(u.path).duration - u.start
        total += length or 0.0
        taken.append(key)
    return taken
