"""One synthetic speaker's recordings, rendered in a process of their own: `python -m sigssl.corpora.synthesis < job.json`.

A fresh process per speaker is what makes the sound depend on the job alone (see espeak.py), with any number of jobs at a time.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32, Int16

from sigssl.corpora.acoustics import record
from sigssl.corpora.espeak import Espeak, Spoken
from sigssl.corpora.phoneset import Phone, fold_espeak
from sigssl.corpora.sentences import sentence
from sigssl.corpora.voices import AMERICAN
from sigssl.data.io import whole, write_json
from sigssl.errors import UserError

SAMPLE_RATE = 16000
VERSION = 1  # of the rendering: audio made by another is not reused
# words that espeak-ng joins to the one before (`in the`), and how many phones of the pair are theirs
JOINED = {"the": 2}


class Job(NamedTuple):
    """A speaker's task: `utts` utterances or, where that is None, `seconds` of audio, into `folder`."""

    folder: str
    speaker: str
    voice: str
    accent: str
    rate: int
    pitch: int
    pitch_range: int
    seed: int
    utts: int | None
    seconds: float
    noise: bool
    reverb: bool
    version: int = VERSION


def main() -> None:
    """Do the job that stands on stdin; `done.json` in its folder holds the job and the alignments, and is written last."""
    job = Job(**json.load(sys.stdin))
    folder = Path(job.folder)
    utterances = render(job)
    write_json(folder / "done.json", {"job": job._asdict(), "utterances": utterances})


def render(job: Job) -> list[dict[str, Any]]:
    """Speak and write a speaker's utterances.

    Returns:
        Per utterance `id`, `seconds`, `words` [[start, end, word], ...] and `phones` [[start, end, name], ...], in seconds.
    """
    espeak = Espeak()
    number = int(job.speaker.removeprefix("spk"))
    espeak.seed(job.seed * 1000 + number)
    done: list[dict[str, Any]] = []
    total = 0.0
    while len(done) < job.utts if job.utts is not None else total < job.seconds:
        rng = np.random.default_rng([job.seed, 1, number, len(done)])
        words = sentence(rng)
        rate = round(job.rate * rng.uniform(0.9, 1.1))
        lead, trail = rng.uniform(0.1, 0.4, size=2)
        spoken = espeak.say(" ".join(words), job.voice, rate, job.pitch, job.pitch_range)
        before = round(lead * SAMPLE_RATE)
        clean = padded(spoken.samples, spoken.sample_rate, before, round(trail * SAMPLE_RATE))
        name = f"{job.speaker}-{len(done):05d}"
        write_flac(Path(job.folder) / f"{name}.flac", record(clean, rng, SAMPLE_RATE, job.noise, job.reverb))
        sounds = align(spoken, words, job.accent in AMERICAN, before / SAMPLE_RATE)
        seconds = len(clean) / SAMPLE_RATE
        done.append({"id": name, "seconds": seconds, "words": word_times(words, sounds), "phones": [s.phone for s in sounds]})
        total += seconds
    return done


def padded(pcm: Int16[np.ndarray, " pcm"], sample_rate: int, before: int, after: int) -> Float32[np.ndarray, " samples"]:
    """16-bit samples at `sample_rate` as floats at 16 kHz, with silence of `before` and `after` samples around them."""
    speech = soxr.resample(pcm.astype(np.float32) / 32768, sample_rate, SAMPLE_RATE)
    return np.pad(speech.astype(np.float32), (before, after))


def write_flac(path: Path, samples: Float32[np.ndarray, " samples"]) -> None:
    """Write 16-bit FLAC at 16 kHz, whole."""
    with whole(path) as temporary:
        soundfile.write(temporary, samples, SAMPLE_RATE, subtype="PCM_16", format="FLAC")


class Sound(NamedTuple):
    """A phone and the index of the word that it belongs to."""

    phone: Phone
    word: int


def align(spoken: Spoken, words: list[str], american: bool, shift: float) -> list[Sound]:
    """The phones in order of time, without silence: a phone lasts until it falls silent or the next one begins.

    espeak-ng marks a stop at its burst, so that the closure before it would count as the vowel's; TIMIT's folding calls it silence.

    Args:
        spoken: espeak-ng's speech and marks.
        words: the words of the text, which had single spaces between them.
        american: whether the accent is American (see phoneset.AMERICAN).
        shift: seconds of silence before the speech.
    """
    starts = {position: n for n, position in enumerate(np.cumsum([0, *(len(word) + 1 for word in words)])[:-1].tolist())}
    begins = [mark.sample for mark in spoken.marks if mark.phoneme is not None]
    following = iter([*begins[1:], len(spoken.samples)])
    sounds: list[Sound] = []
    owner = 0
    for mark in spoken.marks:
        if mark.phoneme is None:
            owner = starts[mark.position]
            continue
        stop = next(following)
        start, end = (
            round(sample / spoken.sample_rate + shift, 4) for sample in (mark.sample, audible_end(spoken, mark.sample, stop))
        )
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


def parted(words: list[str], sounds: list[Sound]) -> list[Sound]:
    """Give the words that espeak-ng joined to the one before (it marks `in the` as one word) their own phones."""
    heard = {sound.word for sound in sounds}
    for n in [n for n in range(len(words)) if n not in heard]:
        tail = JOINED.get(words[n])
        group = [i for i, sound in enumerate(sounds) if sound.word == n - 1]
        assert tail is not None and len(group) > tail, f"{words[n - 1]} {words[n]}: joined, and not known how"
        for i in group[-tail:]:
            sounds[i] = sounds[i]._replace(word=n)
    return sounds


def word_times(words: list[str], sounds: list[Sound]) -> list[tuple[float, float, str]]:
    """Start, end and name of every word, from its first and last phone."""
    times: dict[int, list[Phone]] = {n: [] for n in range(len(words))}
    for phone, word in sounds:
        times[word].append(phone)
    return [(phones[0].start, phones[-1].end, words[n]) for n, phones in times.items()]


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
