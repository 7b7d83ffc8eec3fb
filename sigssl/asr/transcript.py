"""Files of transcripts: Kaldi `text`, CTM, n-best lists as JSON lines, and TextGrids for Praat."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sigssl.data.datadir import DataDir
from sigssl.data.io import write_table, write_text


class WordTime(NamedTuple):
    """A word with its times in seconds from the start of its utterance, and how sure the model is, 0 to 1."""

    word: str
    start: float
    end: float
    confidence: float


class Scored(NamedTuple):
    """One text of an n-best list, with its score and the acoustic part of it (natural logarithms)."""

    text: str
    score: float
    acoustic: float


@dataclass(frozen=True)
class Transcript:
    """What decoding an utterance gave.

    Attributes:
        id: the utterance.
        texts: the n-best list, best first; never empty.
        words: of the best text.
        seconds: how long the utterance is.
        blanks: share of its frames whose likeliest token is the blank.
    """

    id: str
    texts: list[Scored]
    words: list[WordTime]
    seconds: float
    blanks: float

    def as_json(self) -> dict[str, object]:
        """One line of `nbest.jsonl`."""
        return {
            "id": self.id,
            "nbest": [{"text": one.text, "score": round(one.score, 4), "acoustic": round(one.acoustic, 4)} for one in self.texts],
            "words": [
                {"word": w.word, "start": round(w.start, 3), "end": round(w.end, 3), "confidence": round(w.confidence, 4)}
                for w in self.words
            ],
        }


def write_transcripts(folder: Path, transcripts: Sequence[Transcript], places: DataDir | None = None) -> None:
    """Write `text`, `ctm` and `nbest.jsonl`, each whole, sorted by id.

    Args:
        folder: where.
        transcripts: what.
        places: a data directory whose `segments` say where utterances lie in recordings; the CTM then counts from there.
    """
    sorted_ = sorted(transcripts, key=lambda transcript: transcript.id)
    write_table(folder / "text", {one.id: one.texts[0].text for one in sorted_})
    write_ctm(folder / "ctm", ((one.id, one.words) for one in sorted_), places)
    write_text(folder / "nbest.jsonl", "".join(json.dumps(one.as_json(), ensure_ascii=False) + "\n" for one in sorted_))


def write_ctm(path: Path, words: Iterable[tuple[str, Sequence[WordTime]]], places: DataDir | None = None) -> None:
    """Write NIST's time-marked conversation file: recording, channel, start, duration, word, confidence; sorted by time.

    Args:
        path: the file.
        words: of each utterance.
        places: as for :func:`write_transcripts`.
    """
    segments = (places.segments if places else None) or {}
    lines = []
    for id, some in words:
        recording, offset = (segments[id].recording, segments[id].start) if id in segments else (id, 0.0)
        lines += [(recording, offset + one.start, one) for one in some]
    lines.sort(key=lambda line: line[:2])
    write_text(path, "".join(f"{r} 1 {start:.3f} {w.end - w.start:.3f} {w.word} {w.confidence:.4f}\n" for r, start, w in lines))


def write_textgrid(path: Path, tiers: dict[str, Sequence[WordTime]], seconds: float) -> None:
    """Write a TextGrid in Praat's long form; what lies between words becomes intervals without text.

    Args:
        path: the file.
        tiers: name -> words or tokens in order of time.
        seconds: how long the utterance is.
    """
    lines = [
        'File type = "ooTextFile"\nObject class = "TextGrid"\n',
        f"xmin = 0\nxmax = {seconds:.6g}\ntiers? <exists>\nsize = {len(tiers)}\nitem []:",
    ]
    for number, (name, words) in enumerate(tiers.items(), 1):
        filled = _filled(words, seconds)
        lines.append(f'    item [{number}]:\n        class = "IntervalTier"\n        name = "{name}"')
        lines.append(f"        xmin = 0\n        xmax = {seconds:.6g}\n        intervals: size = {len(filled)}")
        for place, (text, start, end) in enumerate(filled, 1):
            quoted = text.replace('"', '""')
            lines.append(f"        intervals [{place}]:\n            xmin = {start:.6g}\n            xmax = {end:.6g}")
            lines.append(f'            text = "{quoted}"')
    write_text(path, "\n".join(lines) + "\n")


def _filled(words: Sequence[WordTime], seconds: float) -> list[tuple[str, float, float]]:
    """Intervals that cover everything; Praat wants them without gaps."""
    made, at = [], 0.0
    for one in words:
        if one.start > at:
            made.append(("", at, one.start))
        made.append((one.word, one.start, one.end))
        at = one.end
    return made + ([("", at, seconds)] if at < seconds or not made else [])
