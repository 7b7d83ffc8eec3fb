"""Synthetic speech by espeak-ng: many voices, known words and phones, no download. For demonstrations, tests and trying recipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

from tqdm import tqdm

from sigssl.corpora.base import About, Item, write_parts
from sigssl.corpora.phoneset import Phone, per_frame
from sigssl.corpora.sentences import TOPICS, sentence
from sigssl.corpora.synthesis import Job
from sigssl.corpora.voices import PARTS, Speaker, cast
from sigssl.data.datadir import DataDir
from sigssl.data.io import write_text
from sigssl.errors import UserError
from sigssl.optional import require

ABOUT = About(
    what="espeak-ng speech made here: transcripts, word and phone times, parts with unlike speakers, 16 kHz",
    licence="none on the sound; espeak-ng itself is GPL-3.0-or-later",
    size="as long as you ask for; 1 h is 60 MB",
    example="sigssl prepare synthetic data/synthetic --hours 1 --speakers 20 --nj 2",
)


def prepare(
    root: Path | None,
    out: Path,
    hours: float = 1.0,
    utts: int | None = None,
    speakers: int = 20,
    seed: int = 0,
    noise: bool = True,
    reverb: bool = True,
    lm_sentences: int = 20000,
    topic: str = "everyday",
    nj: int = 2,
) -> dict[str, DataDir]:
    """Write the parts `train`, `dev` and `test`, with different voices; the audio lies in `out/audio/SPEAKER/`.

    Beside the tables each part has `phones` (a class of TIMIT's 39 per 10 ms), `words.ctm` and `phones.ctm` (utterance, channel,
    start, duration, word or phone); `utt2label` is the accent. `out/lm.txt` holds other sentences of the grammar, for a language
    model.

    Args:
        root: none; there is nothing to find.
        out: folder to write to. Speakers that a killed run finished are kept if they were made with the same options.
        hours: hours of audio over all parts, within an utterance per speaker.
        utts: number of utterances over all parts, in place of hours.
        speakers: how many; about 70 % of them train, the others half develop, half test.
        seed: the same seed and options give the same audio byte for byte, whatever nj.
        noise: background noise, 15 to 40 dB below the speech.
        reverb: a room for one utterance in three.
        lm_sentences: how many sentences to write to lm.txt.
        topic: what is talked about: everyday (some 400 words), or numbers (some 40).
        nj: how many speakers are rendered at a time, each in a process of its own.

    Returns:
        Part -> data directory.

    Raises:
        UserError: options that make no sense, or a rendering that fails.
        MissingExtraError: espeakng-loader is not installed.
    """
    check(root, hours, utts, speakers, topic)
    require("espeakng_loader", "to synthesise speech")
    crew, out = cast(speakers, seed), out.absolute()
    counts = [None if utts is None else utts // speakers + (n < utts % speakers) for n in range(speakers)]
    jobs = [job_of(s, seed, count, hours * 3600 / speakers, noise, reverb, topic) for s, count in zip(crew, counts, strict=True)]
    folders = [out / "audio" / speaker.id for speaker in crew]
    with ThreadPoolExecutor(max(1, nj)) as pool:
        rendered = list(tqdm(pool.map(rendering, jobs, folders), total=len(jobs), desc="speakers", disable=None))
    said = [(speaker, utterance) for speaker, utterances in zip(crew, rendered, strict=True) for utterance in utterances]
    made = write_parts(out, {part: [item(out, s, u) for s, u in said if s.part == part] for part in PARTS})
    for part in PARTS:
        for kind in ("words", "phones"):
            write_text(out / part / f"{kind}.ctm", ctm([u for s, u in said if s.part == part], kind))
    rng = Random(f"language model {seed}")
    write_text(out / "lm.txt", "".join(f"{' '.join(sentence(rng, topic))}\n" for _ in range(lm_sentences)))
    return made


def check(root: Path | None, hours: float, utts: int | None, speakers: int, topic: str) -> None:
    """Refuse options that make no sense, with a UserError."""
    if root is not None:
        raise UserError("synthetic makes its speech itself; leave --root out.")
    if not hours > 0 or (utts is not None and utts < speakers):
        raise UserError(
            f"hours {hours:g}, utts {utts}; expected hours above 0, and at least one utterance for each of {speakers} speakers."
        )
    if topic not in TOPICS:
        raise UserError(f"topic {topic!r}; expected {' or '.join(TOPICS)}.")


def job_of(
    speaker: Speaker, seed: int, count: int | None, seconds: float, noise: bool, reverb: bool, topic: str = "everyday"
) -> Job:
    """The task of one speaker."""
    return Job(
        speaker=speaker.id,
        voice=speaker.voice,
        accent=speaker.accent,
        rate=speaker.rate,
        pitch=speaker.pitch,
        pitch_range=speaker.pitch_range,
        seed=seed,
        utts=count,
        seconds=seconds,
        noise=noise,
        reverb=reverb,
        topic=topic,
    )


def rendering(job: Job, folder: Path) -> list[dict[str, Any]]:
    """The utterances of a job, rendered into `folder` in a new process unless they are there already.

    Raises:
        UserError: the process failed; the end of what it said is shown.
    """
    done = folder / "done.json"
    if done.exists():
        found = json.loads(done.read_text(encoding="utf-8"))
        if found["job"] == job._asdict():
            return list(found["utterances"])
        done.unlink()
    for stale in folder.glob("*.flac"):
        stale.unlink()
    source = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, "-m", "sigssl.corpora.synthesis"]
    task = json.dumps({"folder": str(folder), "job": job._asdict()})
    ran = subprocess.run(command, input=task, env=environment, capture_output=True, encoding="utf-8", check=False)
    if ran.returncode or not done.exists():
        tail = "\n".join(ran.stderr.strip().splitlines()[-5:])
        raise UserError(f"rendering speaker {job.speaker} ({job.voice}) failed with status {ran.returncode}:\n{tail}")
    return list(json.loads(done.read_text(encoding="utf-8"))["utterances"])


def item(out: Path, speaker: Speaker, utterance: dict[str, Any]) -> Item:
    """The item of one rendered utterance."""
    return Item(
        id=utterance["id"],
        path=out / "audio" / speaker.id / f"{utterance['id']}.flac",
        speaker=speaker.id,
        text=" ".join(word for _, _, word in utterance["words"]),
        label=speaker.accent,
        phones=per_frame((Phone(*phone) for phone in utterance["phones"]), utterance["seconds"]),
        seconds=utterance["seconds"],
    )


def ctm(utterances: Sequence[dict[str, Any]], kind: str) -> str:
    """NIST's time-marked lines `utterance channel start duration token` of `words` or `phones`."""
    lines = (f"{u['id']} 1 {start:.4f} {end - start:.4f} {name}\n" for u in utterances for start, end, name in u[kind])
    return "".join(lines)
