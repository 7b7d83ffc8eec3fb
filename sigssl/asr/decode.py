"""Searching log-probabilities, and decoding a store of them in pieces of bounded length, in several processes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from torch import Tensor

from sigssl.asr.assembly import Assembly
from sigssl.asr.beam import BeamSettings, beam_search
from sigssl.asr.ctc import Hypothesis, greedy
from sigssl.asr.fusion import Fusion
from sigssl.asr.heads import Head
from sigssl.asr.joint import JointSearch
from sigssl.asr.lexicon import LexiconSearch, LexiconSettings, read_lexicon, spell
from sigssl.asr.ngram import NGram
from sigssl.asr.pieces import cuts
from sigssl.asr.recogniser import Piece
from sigssl.asr.store import LogProbs, padded
from sigssl.asr.tokens import Tokens
from sigssl.asr.transcript import Transcript
from sigssl.errors import UserError

Method = Literal["auto", "greedy", "beam", "lexicon", "joint"]
BATCH = 16  # utterances that are searched together


@dataclass(frozen=True)
class DecodeSettings:
    """How to decode.

    Attributes:
        method: greedy; beam (prefix beam search); lexicon (flashlight's, only words of the lexicon come out); joint (attention
            decoder and CTC of a hybrid); auto: joint for a hybrid, else beam.
        beam: hypotheses that are kept from frame to frame.
        nbest: texts that are returned.
        lm: ARPA file of a language model of words, "" for none.
        lm_weight: of its natural logarithms.
        word_bonus: added for each word.
        unknown: added for each word that the model lacks; a search over a lexicon finds none.
        lexicon: file of words and their tokens; "" spells the words of the language model.
        longest: seconds above which an utterance is searched in pieces, cut at pauses; a list of texts then has one entry.
        joint_beam: hypotheses kept from token to token in joint decoding (`beam` where that is smaller).
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
    joint_beam: int = 8

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
        head: of the model, for joint decoding; None where there are log-probabilities alone.

    Raises:
        UserError: joint decoding is asked for, and there is no attention decoder.
    """

    def __init__(self, tokens: Tokens, settings: DecodeSettings, head: Head | None = None) -> None:
        self.tokens, self.settings = tokens, settings
        self._joint = _joint(settings, head)
        self._beam = BeamSettings(settings.beam, settings.nbest)
        self._fusion: Fusion | None = None
        self._lexicon: LexiconSearch | None = None
        if settings.method in ("beam", "auto") and settings.lm:
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

    @property
    def needs_memory(self) -> bool:
        """Whether the search looks at what the attention decoder reads."""
        return self._joint is not None

    def assembly(self, frame_shift: float) -> Assembly:
        """What an utterance's pieces are put together with, at `frame_shift` seconds per frame."""
        closed = bool(self.settings.lm) or self.settings.method == "lexicon" or self.needs_memory
        return Assembly(self.tokens, frame_shift, closed=closed)

    def search_pieces(self, pieces: Sequence[Piece]) -> list[list[Hypothesis]]:
        """Hypotheses of each of some pieces, by whichever search the settings name."""
        if self._joint:
            return [self._joint(piece.log_probs, piece.memory) for piece in pieces]
        return self.search(*padded([piece.log_probs for piece in pieces]))

    def __call__(self, ids: Sequence[str], matrices: Sequence[Tensor], frame_shift: float) -> list[Transcript]:
        """Transcripts of some utterances.

        Args:
            ids: their names.
            matrices: log-probabilities [T, V] of each.
            frame_shift: seconds per frame.
        """
        longest = max(round(self.settings.longest / frame_shift), 1)
        pieces = [(item, *piece) for item, rows in enumerate(matrices) for piece in cuts(rows, longest)]
        assemblies = [self.assembly(frame_shift) for _ in ids]
        for first in range(0, len(pieces), BATCH):
            some = pieces[first : first + BATCH]
            parts = [matrices[item][start:stop] for item, start, stop in some]
            for (item, _, _), part, hypotheses in zip(some, parts, self.search(*padded(parts)), strict=True):
                assemblies[item].add(part, hypotheses)
        return [assembly.transcript(id) for id, assembly in zip(ids, assemblies, strict=True)]


def _joint(settings: DecodeSettings, head: Head | None) -> JointSearch | None:
    has = head is not None and head.decoder is not None
    if settings.method == "joint" and not has:
        raise UserError("--method joint needs a model with an attention decoder (head.kind seq2seq); use beam.")
    if settings.method == "joint" and settings.lm:
        raise UserError("--method joint takes no language model; --method beam does.")
    if head is None or not has or settings.method not in ("joint", "auto") or settings.lm:
        return None
    return JointSearch(head, min(settings.beam, settings.joint_beam), settings.nbest)


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
