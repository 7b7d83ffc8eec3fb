"""A transcript put together from the pieces of an utterance as they are searched."""

from __future__ import annotations

import torch
from torch import Tensor

from sigssl.asr.align import Timed, token_times, viterbi, word_times
from sigssl.asr.ctc import Hypothesis
from sigssl.asr.tokens import Tokens
from sigssl.asr.transcript import Scored, Transcript, WordTime


class Assembly:
    """One utterance; of its pieces only tokens, words, times and scores are kept.

    Args:
        tokens: of the model.
        frame_shift: seconds per frame.
        closed: whether the search takes the end of a piece for the end of a word, as one with a language model or a decoder
            does; else a word may reach over a cut, and the pieces give what the whole gives.
    """

    def __init__(self, tokens: Tokens, frame_shift: float, *, closed: bool = False) -> None:
        self.tokens, self.shift, self.closed = tokens, frame_shift, closed
        self._said: list[int] = []
        self._times: list[Timed] = []
        self._words: list[WordTime] = []
        self._frames = self._blanks = self._pieces = 0
        self._score = self._acoustic = 0.0
        self._only: list[Hypothesis] = []

    def add(self, rows: Tensor, hypotheses: list[Hypothesis]) -> None:
        """The next piece: ln P [T, V], and what was found in it, best first."""
        best = hypotheses[0].tokens
        (alignment,) = viterbi(rows[None], torch.tensor([len(rows)]), [best])
        for time in token_times(rows, best, alignment):
            self._times.append(time._replace(start=time.start + self._frames, stop=time.stop + self._frames))
        self._said += best
        self._frames += len(rows)
        self._blanks += int((rows.argmax(-1) == 0).sum())
        self._pieces += 1
        self._score += hypotheses[0].score
        self._acoustic += hypotheses[0].acoustic
        self._only = hypotheses if self._pieces == 1 else []
        if self.closed:
            self._close()

    def transcript(self, id: str) -> Transcript:
        """What was said; an n-best list of one piece has each text once, of several pieces it has their best ones, joined."""
        self._close()
        return Transcript(id, self._texts(), self._words, self._frames * self.shift, self._blanks / max(self._frames, 1))

    def _close(self) -> None:
        """Turn tokens into words; what comes begins a new one."""
        times = word_times(self.tokens, self._said, self._times)
        self._words += [WordTime(one.word, one.start * self.shift, one.stop * self.shift, one.confidence) for one in times]
        self._said, self._times = [], []

    def _texts(self) -> list[Scored]:
        if self._pieces != 1:
            return [Scored(" ".join(word.word for word in self._words), self._score, self._acoustic)]
        made: dict[str, Scored] = {}
        for one in self._only:
            text = self.tokens.decode(one.tokens)
            made.setdefault(text, Scored(text, one.score, one.acoustic))
        return list(made.values())
