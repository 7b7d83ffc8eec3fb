"""Connected digits made from the Free Spoken Digit Dataset: strings of single clips of one speaker, with pauses between them.

Real voices and a vocabulary of ten; what is not real is the joint: no digit runs into the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from jaxtyping import Float32

from sigssl.corpora.base import About, Item, write_parts
from sigssl.corpora.fsdd import clips
from sigssl.data import audio
from sigssl.data.batching import derive
from sigssl.data.datadir import DataDir
from sigssl.data.io import whole, write_text
from sigssl.errors import UserError

ABOUT = About(
    what="strings of 3 to 7 spoken digits, made from the clips of fsdd, 6 speakers, 8 kHz",
    licence="CC BY-SA 4.0",
    size="made from fsdd: 600 strings, 35 min, 20 MB",
    example="sigssl prepare digit_strings --root free-spoken-digit-dataset data/strings",
)
PARTS = {"test": range(5), "dev": range(5, 10), "train": range(10, 1000)}  # by take; fsdd's own test takes are 0 to 4
EDGE = 0.15  # seconds of silence before the first and after the last digit
FADE = 0.004  # seconds over which a clip comes out of the silence and goes back into it
FRAME = 0.01  # seconds of the frames whose quietest is a clip's floor


class Clip(NamedTuple):
    """A digit that was read: its samples, and the level of its quietest frame (root mean square)."""

    id: str
    word: str
    samples: Float32[np.ndarray, " n"]
    floor: float


def prepare(
    root: Path | None,
    out: Path,
    shortest: int = 3,
    longest: int = 7,
    shortest_gap: float = 0.05,
    longest_gap: float = 0.4,
    passes: int = 1,
    seed: int = 0,
) -> dict[str, DataDir]:
    """Make the strings and write the parts `all`, `train`, `dev` and `test`; the same settings make the same bytes.

    Takes 0 to 4 of every digit and speaker are heard in test strings only, 5 to 9 in dev, the others in train. A part uses each of
    its clips once (and a string at its end takes up to `shortest` - 1 of them again). To leave a speaker out, take that speaker's
    strings of `all` for the test and the other speakers' train and dev.

    Args:
        root: folder of fsdd, as `sigssl prepare fsdd` takes it.
        out: folder to write to: the parts, `audio/`, and `strings.tsv`, which says which clip begins where.
        shortest: fewest digits in a string.
        longest: most digits in a string.
        shortest_gap: seconds between two clips, at the least.
        longest_gap: seconds between two clips, at the most; both are silence at the level of the clips' own floor.
        passes: how often the clips of train are used, each time in other strings.
        seed: of all choices.

    Returns:
        Part -> data directory; ids are `speaker-part-number`, `text` says the digits as words.

    Raises:
        UserError: lengths or gaps that make no sense, a speaker with fewer clips than a string needs, clips at several rates.
    """
    if not (1 <= shortest <= longest and 0 <= shortest_gap <= longest_gap and passes >= 1):
        raise UserError(
            f"expected 1 <= shortest <= longest, 0 <= shortest_gap <= longest_gap and passes >= 1; got {shortest}, {longest}, "
            f"{shortest_gap}, {longest_gap}, {passes}."
        )
    found = clips(root)
    rates = {audio.info(item.path).sample_rate for item, _ in found}
    if len(rates) > 1:
        raise UserError(f"clips at {sorted(rates)} Hz; strings are made of clips at one rate.")
    rate = rates.pop()
    parts: dict[str, list[Item]] = {"all": [], "train": [], "dev": [], "test": []}
    table = []
    for speaker in sorted({item.speaker for item, _ in found}):
        for part, takes in PARTS.items():
            own = [read(item, rate) for item, take in found if item.speaker == speaker and take in takes]
            if len(own) < shortest:
                raise UserError(
                    f"speaker {speaker!r} has {len(own)} clips for {part} (takes {takes.start} and on); a string needs more."
                )
            rng = np.random.Generator(np.random.Philox(derive(seed, "digit strings", speaker, part)))
            strings = [s for _ in range(passes if part == "train" else 1) for s in drawn(own, shortest, longest, rng)]
            for number, string in enumerate(strings):
                made, starts = spoken(f"{speaker}-{part}-{number:04d}", string, out, rate, (shortest_gap, longest_gap), rng)
                parts[part].append(made)
                parts["all"].append(made)
                table += [f"{made.id}\t{start:.4f}\t{clip.id}\n" for start, clip in zip(starts, string, strict=True)]
    write_text(out / "strings.tsv", "".join(table))
    return write_parts(out, parts)


def spoken(
    id: str, string: Sequence[Clip], out: Path, rate: int, gap: tuple[float, float], rng: np.random.Generator
) -> tuple[Item, list[float]]:
    """Write one string to `out/audio/SPEAKER/ID.flac`; its item, and where its clips begin."""
    signal, starts = joined(string, rate, gap, rng)
    speaker = string[0].id.rsplit("-", 2)[0]
    path = write(out / "audio" / speaker / f"{id}.flac", signal, rate)
    return Item(id, path, speaker, text=" ".join(clip.word for clip in string), seconds=len(signal) / rate), starts


def read(item: Item, rate: int) -> Clip:
    """Read a clip and its floor."""
    samples = audio.read(item.path)[0]
    size = round(FRAME * rate)
    frames = samples[: max(1, len(samples) // size) * size].reshape(-1, min(size, len(samples)))
    assert item.text is not None  # each digit has its word
    return Clip(item.id, item.text, samples, float(np.sqrt((frames.astype(np.float64) ** 2).mean(1)).min()))


def drawn(own: Sequence[Clip], shortest: int, longest: int, rng: np.random.Generator) -> list[list[Clip]]:
    """All clips once, in random order, as strings of random length; the last is filled up from the beginning."""
    order = [own[k] for k in rng.permutation(len(own))]
    strings, at = [], 0
    while at < len(order):
        string = order[at : at + int(rng.integers(shortest, longest + 1))]
        at += len(string)
        strings.append(string + order[: max(0, shortest - len(string))])
    return strings


def joined(
    string: Sequence[Clip], rate: int, gap: tuple[float, float], rng: np.random.Generator
) -> tuple[Float32[np.ndarray, " samples"], list[float]]:
    """The signal of a string, and where each clip begins in it, in seconds."""
    pieces, starts = [silence(EDGE, string[0].floor, rate, rng)], []
    for k, clip in enumerate(string):
        starts.append(sum(map(len, pieces)) / rate)
        pieces.append(faded(clip, rate, rng))
        after = string[k + 1] if k + 1 < len(string) else None
        floor = clip.floor if after is None else min(clip.floor, after.floor)
        pieces.append(silence(EDGE if after is None else float(rng.uniform(*gap)), floor, rate, rng))
    return np.concatenate(pieces), starts


def silence(seconds: float, floor: float, rate: int, rng: np.random.Generator) -> Float32[np.ndarray, " n"]:
    """White noise of a level."""
    return rng.normal(0.0, floor, round(seconds * rate)).astype(np.float32)


def faded(clip: Clip, rate: int, rng: np.random.Generator) -> Float32[np.ndarray, " n"]:
    """The clip, its ends crossing over to noise at its floor, so that it neither clicks nor leaves a hole."""
    ramp = np.sin(np.linspace(0.0, np.pi / 2, min(round(FADE * rate), len(clip.samples) // 2), dtype=np.float32))
    gain = np.ones(len(clip.samples), dtype=np.float32)
    gain[: len(ramp)] = ramp
    gain[len(gain) - len(ramp) :] = ramp[::-1]
    noise = rng.normal(0.0, clip.floor, len(gain)).astype(np.float32)
    return clip.samples * gain + noise * np.sqrt(np.maximum(0.0, 1 - gain**2))


def write(path: Path, signal: Float32[np.ndarray, " samples"], rate: int) -> Path:
    """Write 16-bit FLAC, whole; the absolute path."""
    with whole(path) as temporary:
        soundfile.write(temporary, signal, rate, format="FLAC", subtype="PCM_16")
    return path.absolute()
