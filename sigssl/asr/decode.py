"""Decoding a store of log-probabilities: in pieces of bounded length, in several processes, what cannot be read set aside."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sigssl.asr.align import Timed, token_times, viterbi, word_times
from sigssl.asr.beam import BeamSettings, beam_search
from sigssl.asr.ctc import Hypothesis, greedy
from sigssl.asr.fusion import Fusion
from sigssl.asr.lexicon import LexiconSearch, LexiconSettings, read_lexicon, spell
from sigssl.asr.ngram import NGram
from sigssl.asr.store import LogProbs, padded
from sigssl.asr.tokens import Tokens
from sigssl.asr.transcript import Scored, Transcript, WordTime
from sigssl.errors import UserError

Method = Literal["greedy", "beam", "lexicon"]
BATCH = 16  # utterances that are searched together
PAUSE = 11  # frames over which a pause is looked for


@dataclass(frozen=True)
class DecodeSettings:
    """How to decode.

    Attributes:
        method: greedy; beam (prefix beam search); lexicon (flashlight's, only words of the lexicon come out).
        beam: hypotheses that are kept from frame to frame.
        nbest: texts that are returned.
        lm: ARPA file of a language model of words, "" for none.
        lm_weight: of its natural logarithms.
        word_bonus: added for each word.
        unknown: added for each word that the model lacks; a search over a lexicon finds none.
        lexicon: file of words and their tokens; "" spells the words of the language model.
        longest: seconds above which an utterance is searched in pieces, cut at pauses; a list of texts then has one entry.
    """

    method: Method = "beam"
    beam: int = 50
    nbest: int = 1
    lm: str = ""
    lm_weight: float = 0.5
    word_bonus: float = 1.5
    unknown: float = -10.0
    lexicon: str = ""
    longest: float = 60.0

    def __post_init__(self) -> None:
        if self.method == "greedy" and (self.lm or self.lexicon or self.nbest > 1):
            raise UserError("greedy decoding has no language model, lexicon or n-best list; expected --method beam or lexicon.")
        if self.method == "beam" and self.lexicon:
            raise UserError("--lexicon is used by --method lexicon only; beam search without a lexicon spells any word.")
        if self.method == "lexicon" and not (self.lm or self.lexicon):
            raise UserError("--method lexicon needs words: give --lm MODEL.arpa, --lexicon FILE, or both.")
        if not self.longest > 0:
            raise UserError(f"longest {self.longest}; expected seconds above 0.")


class Decoder:
    """A search that is ready to run.

    Args:
        tokens: of the model.
        settings: how.
    """

    def __init__(self, tokens: Tokens, settings: DecodeSettings) -> None:
        self.tokens, self.settings = tokens, settings
        self._beam = BeamSettings(settings.beam, settings.nbest)
        self._fusion: Fusion | None = None
        self._lexicon: LexiconSearch | None = None
        if settings.method == "beam" and settings.lm:
            self._fusion = Fusion(tokens, NGram.read(settings.lm), settings.lm_weight, settings.word_bonus, settings.unknown)
        if settings.method == "lexicon":
            words = read_lexicon(settings.lexicon, tokens) if settings.lexicon else spell(tokens, NGram.read(settings.lm).words())
            how = LexiconSettings(settings.beam, settings.nbest, weight=settings.lm_weight, bonus=settings.word_bonus)
            self._lexicon = LexiconSearch(tokens, settings.lm or None, words, how)

    def search(self, log_probs: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        """Hypotheses of each utterance of a batch [B, T, V], best first."""
        if self._lexicon:
            return self._lexicon(log_probs, lengths)
        if self.settings.method == "greedy":
            return [[one] for one in greedy(log_probs, lengths)]
        return beam_search(log_probs, lengths, self._beam, self._fusion)

    def __call__(self, ids: Sequence[str], matrices: Sequence[Tensor], frame_shift: float) -> list[Transcript]:
        """Transcripts of some utterances.

        Args:
            ids: their names.
            matrices: log-probabilities [T, V] of each.
            frame_shift: seconds per frame.
        """
        longest = max(round(self.settings.longest / frame_shift), 1)
        pieces = [(item, *piece) for item, rows in enumerate(matrices) for piece in cuts(rows, longest)]
        found: list[list[tuple[Tensor, list[Hypothesis]]]] = [[] for _ in ids]
        for first in range(0, len(pieces), BATCH):
            some = pieces[first : first + BATCH]
            parts = [matrices[item][start:stop] for item, start, stop in some]
            for (item, _, _), part, hypotheses in zip(some, parts, self.search(*padded(parts)), strict=True):
                found[item].append((part, hypotheses))
        return [self._transcript(id, searched, frame_shift) for id, searched in zip(ids, found, strict=True)]

    def _transcript(self, id: str, searched: list[tuple[Tensor, list[Hypothesis]]], shift: float) -> Transcript:
        tokens: list[int] = []
        times: list[Timed] = []
        frames = blanks = 0
        for rows, hypotheses in searched:
            best = hypotheses[0].tokens
            (alignment,) = viterbi(rows[None], torch.tensor([len(rows)]), [best])
            times += [t._replace(start=t.start + frames, stop=t.stop + frames) for t in token_times(rows, best, alignment)]
            tokens += best
            frames, blanks = frames + len(rows), blanks + int((rows.argmax(-1) == 0).sum())
        words = [WordTime(w.word, w.start * shift, w.stop * shift, w.confidence) for w in word_times(self.tokens, tokens, times)]
        return Transcript(id, self._texts(tokens, searched), words, frames * shift, blanks / max(frames, 1))

    def _texts(self, tokens: Sequence[int], searched: list[tuple[Tensor, list[Hypothesis]]]) -> list[Scored]:
        """The n-best list, each text once with the best of its scores; of several pieces their best ones, joined."""
        if len(searched) != 1:
            best = [hypotheses[0] for _, hypotheses in searched]
            return [Scored(self.tokens.decode(tokens), sum(h.score for h in best), sum(h.acoustic for h in best))]
        made: dict[str, Scored] = {}
        for one in searched[0][1]:
            text = self.tokens.decode(one.tokens)
            made.setdefault(text, Scored(text, one.score, one.acoustic))
        return list(made.values())


def cuts(log_probs: Tensor, longest: int) -> Iterator[tuple[int, int]]:
    """Pieces [start, stop) of at most `longest` frames, cut in pauses.

    Each cut is in the second half of a piece, where the mean of ln P(blank) over :data:`PAUSE` frames is largest among the frames
    whose likeliest token is the blank; greedy decoding of the pieces is then that of the whole.

    Args:
        log_probs: of one utterance [T, V], blank first.
        longest: frames.
    """
    start, total = 0, len(log_probs)
    if total > longest:
        blank = np.maximum(log_probs[:, 0].double().numpy(), -50.0)
        pause = np.convolve(np.pad(blank, PAUSE // 2, constant_values=-50.0), np.full(PAUSE, 1 / PAUSE), mode="valid")
        pause = np.where((log_probs.argmax(-1) == 0).numpy(), pause, pause - 100.0)
        while total - start > longest:
            low = start + max(longest // 2, 1)
            stop = low + int(pause[low : start + longest + 1].argmax())
            yield start, stop
            start = stop
    yield start, total


class Part(NamedTuple):
    """What a worker made of some utterances: transcripts, and id, file and reason of what was set aside."""

    transcripts: list[Transcript]
    bad: list[tuple[str, str, str]] = []  # noqa: RUF012 (never changed)


@dataclass(frozen=True)
class DecodeJob:
    """Decodes the utterances of some ids; picklable.

    Attributes:
        folder: store of log-probabilities.
        settings: how.
    """

    folder: str
    settings: DecodeSettings = field(default_factory=DecodeSettings)

    def __call__(self, ids: Sequence[str]) -> Part:
        """Transcripts of those that can be read."""
        store, decoder = _ready(self.folder, tuple(asdict(self.settings).items()))
        good, matrices, bad = [], [], []
        for id in ids:
            try:
                matrices.append(store.read(id))
                good.append(id)
            except UserError as error:
                bad.append((id, store.scp[id], str(error)))
        return Part(decoder(good, matrices, store.frame_shift), bad)


@functools.lru_cache(maxsize=1)
def _ready(folder: str, settings: tuple[tuple[str, Any], ...]) -> tuple[LogProbs, Decoder]:
    """The store and the search, read once by each process."""
    store = LogProbs.open(folder)
    return store, Decoder(store.tokens, DecodeSettings(**dict(settings)))


def shards(ids: Sequence[str], size: int = BATCH) -> list[tuple[str, ...]]:
    """Ids in groups that do not depend on how many processes there are."""
    return [tuple(ids[first : first + size]) for first in range(0, len(ids), size)]
