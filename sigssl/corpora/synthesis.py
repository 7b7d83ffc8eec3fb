"""One synthetic speaker's recordings, rendered in a process of their own: `python -m sigssl.corpora.synthesis < job.json`.

A fresh process per speaker is what makes the sound depend on the job alone (see espeak.py), with any number of jobs at a time.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32, Int16

from sigssl.corpora.acoustics import record
from sigssl.corpora.alignment import Sound, align, shifted, word_times
from sigssl.corpora.espeak import Espeak, Spoken
from sigssl.corpora.sentences import sentence
from sigssl.corpora.voices import AMERICAN
from sigssl.data.io import whole, write_json
from sigssl.errors import UserError

SAMPLE_RATE = 16000
VERSION = 1  # of the rendering: audio made by another is not reused


class Job(NamedTuple):
    """A speaker's task: `utts` utterances or, where that is None, `seconds` of audio."""

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
    topic: str = "everyday"
    version: int = VERSION


def main() -> None:
    """Do the job that stands on stdin; `done.json` in its folder holds the job and the alignments, and is written last."""
    task = json.load(sys.stdin)
    job, folder = Job(**task["job"]), Path(task["folder"])
    utterances = render(job, folder)
    write_json(folder / "done.json", {"job": job._asdict(), "utterances": utterances})


def render(job: Job, folder: Path) -> list[dict[str, Any]]:
    """Speak a speaker's utterances and write them to `folder/ID.flac`.

    Returns:
        Per utterance `id`, `seconds`, `words` [[start, end, word], ...] and `phones` [[start, end, name], ...], in seconds.
    """
    espeak = Espeak()
    number = int(job.speaker.removeprefix("spk"))
    espeak.seed(job.seed * 1000 + number)
    done: list[dict[str, Any]] = []
    total = 0.0
    while len(done) < job.utts if job.utts is not None else total < job.seconds:
        name = f"{job.speaker}-{len(done):05d}"
        words, spoken, sounds = speak(espeak, job, Random(f"{name} {job.seed}"))
        rng = np.random.default_rng([job.seed, number, len(done)])
        before, after = (round(silence * SAMPLE_RATE) for silence in rng.uniform(0.1, 0.4, size=2))
        clean = padded(spoken.samples, spoken.sample_rate, before, after)
        seconds = len(clean) / SAMPLE_RATE
        write_flac(folder / f"{name}.flac", record(clean, rng, SAMPLE_RATE, job.noise, job.reverb))
        phones = [shifted(sound.phone, before / SAMPLE_RATE) for sound in sounds]
        times = [shifted(word, before / SAMPLE_RATE) for word in word_times(words, sounds)]
        done.append({"id": name, "seconds": seconds, "words": times, "phones": phones})
        total += seconds
    return done


def speak(espeak: Espeak, job: Job, rng: Random) -> tuple[list[str], Spoken, list[Sound]]:
    """Draw a sentence and a pace, and say it: words, speech, phones. A sentence whose words espeak-ng joins is drawn again."""
    while True:
        words = sentence(rng, job.topic)
        rate = round(job.rate * rng.uniform(0.9, 1.1))
        spoken = espeak.say(" ".join(words), job.voice, rate, job.pitch, job.pitch_range)
        sounds = align(spoken, words, job.accent in AMERICAN)
        if sounds is not None:
            return words, spoken, sounds


def padded(pcm: Int16[np.ndarray, " pcm"], sample_rate: int, before: int, after: int) -> Float32[np.ndarray, " samples"]:
    """16-bit samples at `sample_rate` as floats at 16 kHz, with silence of `before` and `after` samples around them."""
    speech = soxr.resample(pcm.astype(np.float32) / 32768, sample_rate, SAMPLE_RATE)
    return np.pad(speech.astype(np.float32), (before, after))


def write_flac(path: Path, samples: Float32[np.ndarray, " samples"]) -> None:
    """Write 16-bit FLAC at 16 kHz, whole. Encoded in memory: libsndfile waits for the disk at the end of every file."""
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, SAMPLE_RATE, subtype="PCM_16", format="FLAC")
    with whole(path) as temporary:
        temporary.write_bytes(encoded.getvalue())


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(str(error))
