"""Which phone of espeak-ng's speech sounds when, and to which word it belongs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sigssl.corpora.espeak import Spoken
from sigssl.corpora.phoneset import Phone, fold_espeak

# words that espeak-ng joins to the one before (`in the`), and how many phones of the pair are theirs
JOINED = {"the": 2}


class Sound(NamedTuple):
    """A phone and the index of the word that it belongs to."""

    phone: Phone
    word: int


def align(spoken: Spoken, words: list[str], american: bool) -> list[Sound] | None:
    """The phones in order of time, without silence: a phone lasts until it falls silent or the next one begins.

    espeak-ng marks a stop at its burst, so that the closure before it would count as the vowel's; TIMIT's folding calls it silence.

    Args:
        spoken: espeak-ng's speech and marks.
        words: the words of the text, which had single spaces between them.
        american: whether the accent is American (see phoneset.AMERICAN).

    Returns:
        The sounds, in seconds from the start of the speech; None where espeak-ng joined words in a way that cannot be parted.
    """
    starts = {position: n for n, position in enumerate(np.cumsum([0, *(len(word) + 1 for word in words)])[:-1].tolist())}
    begins = [mark.sample for mark in spoken.marks if mark.phoneme is not None]
    following = iter([*begins[1:], len(spoken.samples)])
    sounds: list[Sound] = []
    owner = 0
    for mark in spoken.marks:
        if mark.phoneme is None:
            if mark.position not in starts:
                return None
            owner = starts[mark.position]
            continue
        stop = next(following)
        start, end = mark.sample / spoken.sample_rate, audible_end(spoken, mark.sample, stop) / spoken.sample_rate
        name = fold_espeak(mark.phoneme, american)
        if name is None and sounds:
            last = sounds[-1]
            sounds[-1] = Sound(last.phone._replace(end=max(end, last.phone.end)), last.word)
        elif name not in (None, "sil") and end > start:
            sounds.append(Sound(Phone(start, end, str(name)), owner))
    return parted(words, sounds)


def audible_end(spoken: Spoken, start: int, stop: int) -> int:
    """Where the sound between two samples falls below -40 dB of its peak for good; `stop` where that takes less than 10 ms."""
    loud = np.abs(spoken.samples[start:stop].astype(np.int32))
    heard = np.flatnonzero(loud * 100 > loud.max(initial=0))
    end = start + int(heard[-1]) + 1 if len(heard) else start
    return end if stop - end >= spoken.sample_rate // 100 else stop


def parted(words: list[str], sounds: list[Sound]) -> list[Sound] | None:
    """Give words that espeak-ng joined to the one before (it marks `in the` as one word) their own phones; None if unknown how."""
    heard = {sound.word for sound in sounds}
    for n in [n for n in range(len(words)) if n not in heard]:
        tail = JOINED.get(words[n])
        group = [i for i, sound in enumerate(sounds) if sound.word == n - 1]
        if tail is None or len(group) <= tail:
            return None
        for i in group[-tail:]:
            sounds[i] = sounds[i]._replace(word=n)
    return sounds


def word_times(words: list[str], sounds: list[Sound]) -> list[Phone]:
    """When every word sounds, from its first and last phone."""
    times: dict[int, list[Phone]] = {n: [] for n in range(len(words))}
    for phone, word in sounds:
        times[word].append(phone)
    return [Phone(phones[0].start, phones[-1].end, words[n]) for n, phones in times.items()]


def shifted(sound: Phone, seconds: float) -> Phone:
    """The same, later, rounded to 0.1 ms."""
    return Phone(round(sound.start + seconds, 4), round(sound.end + seconds, 4), sound.name)
