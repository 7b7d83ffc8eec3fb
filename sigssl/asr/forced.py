"""Forced alignment of a store of log-probabilities with transcripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import torch

from sigssl.asr.align import Timed, token_times, viterbi, word_times
from sigssl.asr.ctc import frames_needed
from sigssl.asr.store import LogProbs
from sigssl.asr.transcript import WordTime
from sigssl.errors import UserError


class Aligned(NamedTuple):
    """An utterance with its words and tokens in seconds, ln P of the path, and how long it is."""

    id: str
    words: list[WordTime]
    tokens: list[WordTime]
    score: float
    seconds: float


def align_store(
    store: LogProbs, texts: Mapping[str, str], unknown: Counter[str] | None = None
) -> tuple[list[Aligned], list[tuple[str, str]]]:
    """Align every utterance of a store that has a transcript, sorted by id.

    Args:
        store: log-probabilities.
        texts: utterance -> transcript.
        unknown: counts what the tokens cannot spell; it is left out of the alignment.

    Returns:
        The alignments, and id and reason of each utterance that was set aside: no transcript, nothing in it that the tokens
        spell, too few frames, or an unreadable matrix.
    """
    found, bad = [], []
    for id in sorted(store.scp):
        try:
            found.append(_one(store, id, texts, unknown))
        except UserError as error:
            bad.append((id, " ".join(str(error).split())))
    return found, bad


def _one(store: LogProbs, id: str, texts: Mapping[str, str], unknown: Counter[str] | None) -> Aligned:
    tokens, shift = store.tokens, store.frame_shift
    target = tokens.encode(texts.get(id, ""), unknown)
    if not target:
        raise UserError("it has no transcript that the tokens can spell")
    rows = store.read(id)
    if len(rows) < frames_needed(target):
        raise UserError(f"{len(rows)} frames; its transcript of {len(target)} tokens needs {frames_needed(target)}")
    (alignment,) = viterbi(rows[None], torch.tensor([len(rows)]), [target])
    times = token_times(rows, target, alignment)
    words, named = word_times(tokens, target, times), [time._replace(word=tokens.tokens[int(time.word)]) for time in times]
    return Aligned(id, _seconds(words, shift), _seconds(named, shift), alignment.score, len(rows) * shift)


def _seconds(times: list[Timed], shift: float) -> list[WordTime]:
    return [WordTime(time.word, time.start * shift, time.stop * shift, time.confidence) for time in times]
