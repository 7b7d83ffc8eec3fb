"""Which utterances of a data directory a recogniser can learn from, and why it cannot from the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import nn

from sigssl.asr.ctc import frames_needed
from sigssl.asr.tokens import Tokens
from sigssl.data import audio
from sigssl.data.datadir import DataDir, Utterance
from sigssl.data.io import read_table, write_text
from sigssl.errors import UserError


@dataclass(frozen=True)
class Example:
    """An utterance to learn from or to recognise.

    Attributes:
        utterance: where its signal is.
        seconds: its length.
        frames: of the encoder.
        text: its transcript, normalised.
        tokens: that transcript as numbers.
    """

    utterance: Utterance
    seconds: float
    frames: int
    text: str
    tokens: list[int]

    @property
    def id(self) -> str:
        """Its utterance id."""
        return self.utterance.id


class Skipped(NamedTuple):
    """An utterance that is not used; `kind` is for counting, `reason` for reading."""

    id: str
    kind: str
    reason: str


def read_texts(data: DataDir, name: str = "text") -> dict[str, str]:
    """Transcripts of a data directory, from its table `name`.

    Raises:
        UserError: no such table, or nothing in it.
    """
    texts = data.text if name == "text" else read_table(Path(data.path) / name, empty_ok=True)
    if not texts:
        raise UserError(f"{data.path}: has no transcripts (its table {name!r} is absent or empty); speech recognition needs them.")
    return texts


def gather(
    data: DataDir, texts: Mapping[str, str], tokens: Tokens, encoder: nn.Module, stack: int, longest: float | None
) -> tuple[list[Example], list[Skipped], Counter[str]]:
    """Examples of a data directory, sorted by id.

    Args:
        data: the directory.
        texts: transcripts.
        tokens: units and normalisation.
        encoder: says how many frames it makes.
        stack: frames that the head joins.
        longest: seconds above which an utterance is skipped, and with it those too short for their transcript; None to keep all
            that have a transcript, to be recognised.

    Returns:
        The examples, what was skipped, and how often each character (word, phone) occurred that the tokens lack.
    """
    examples: list[Example] = []
    skipped: list[Skipped] = []
    unknown: Counter[str] = Counter()
    for utterance in data.utterances():
        made = _example(utterance, texts.get(utterance.id), tokens, encoder, unknown)
        if isinstance(made, Example) and longest is not None:
            made = _fit(made, stack, longest)
        (examples if isinstance(made, Example) else skipped).append(made)  # type: ignore[arg-type]
    return examples, skipped, unknown


def _example(
    utterance: Utterance, transcript: str | None, tokens: Tokens, encoder: nn.Module, unknown: Counter[str]
) -> Example | Skipped:
    text = None if transcript is None else tokens.normaliser(transcript)
    if not text:
        why = "it has no transcript" if text is None else "nothing is left of its transcript after normalisation"
        return Skipped(utterance.id, "no transcript", why)
    try:
        seconds = utterance.duration or audio.info(utterance.path).duration - utterance.start
    except (UserError, OSError) as error:
        return Skipped(utterance.id, "unreadable", " ".join(str(error).split()))
    frames = frames_of(encoder, round(seconds * encoder.sample_rate))  # type: ignore[operator, arg-type]
    return Example(utterance, seconds, frames, text, tokens.encode(text, unknown))


def _fit(example: Example, stack: int, longest: float) -> Example | Skipped:
    if example.seconds > longest:
        return Skipped(example.id, "too long", f"{example.seconds:.1f} s, longer than {longest:g} s (longest)")
    if not example.tokens:
        return Skipped(example.id, "no transcript", "none of its transcript can be written with the tokens")
    have, need = -(-example.frames // stack), frames_needed(example.tokens)
    if have < need:
        return Skipped(
            example.id, "too short", f"{have} frames ({example.seconds:.2f} s) for {len(example.tokens)} tokens, which need {need}"
        )
    return example


def frames_of(encoder: nn.Module, samples: int) -> int:
    """Frames that an encoder makes of so many samples; at least so many, for one that cannot say."""
    for one in (encoder, getattr(encoder, "features", None)):
        if hasattr(one, "frame_count"):
            return int(one.frame_count(samples))  # type: ignore[union-attr, operator]
    return max(samples // int(encoder.hop) - 1, 0)  # type: ignore[arg-type]


def write_skipped(path: Path, skipped: Mapping[str, list[Skipped]]) -> None:
    """Write skipped.tsv: id, reason; those of parts other than train are marked so."""
    lines = [f"{one.id}\t{'' if part == 'train' else f'({part}) '}{one.reason}\n" for part, some in skipped.items() for one in some]
    write_text(path, "".join(lines))
