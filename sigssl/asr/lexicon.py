"""Beam search over a lexicon with an n-gram model through flashlight-text and its KenLM: for large vocabularies and models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from sigssl.asr.ctc import Hypothesis, collapse, total_log_prob
from sigssl.asr.ngram import LN10, UNKNOWN
from sigssl.asr.tokens import SEPARATOR, Tokens
from sigssl.data.io import read_lines
from sigssl.errors import UserError
from sigssl.optional import require

NEEDED = "for beam search over a lexicon"


@dataclass(frozen=True)
class LexiconSettings:
    """How the search runs.

    Attributes:
        beam: hypotheses kept from frame to frame.
        nbest: hypotheses returned.
        tokens: of each frame only so many likeliest tokens are tried.
        threshold: nats below the best hypothesis at which one is dropped.
        weight: of the language model's natural logarithms.
        bonus: added for each word.
    """

    beam: int = 50
    nbest: int = 1
    tokens: int = 40
    threshold: float = 50.0
    weight: float = 0.5
    bonus: float = 1.5


class LexiconSearch:
    """The search, ready to run on any number of utterances; only words of the lexicon come out.

    Args:
        tokens: how numbers spell words.
        model: an ARPA file (or KenLM's binary); None searches with the lexicon alone.
        lexicon: word -> its spellings, each a sequence of token numbers.
        settings: how wide, how much the model counts.

    Raises:
        MissingExtraError: flashlight-text is not installed.
        UserError: an empty lexicon.
    """

    def __init__(
        self,
        tokens: Tokens,
        model: Path | str | None,
        lexicon: Mapping[str, Sequence[Sequence[int]]],
        settings: LexiconSettings = LexiconSettings(),
    ) -> None:
        if not lexicon:
            raise UserError("the lexicon is empty: no word of the language model can be spelled with these tokens.")
        self.tokens, self.settings = tokens, settings
        library = require("flashlight.lib.text.decoder", NEEDED)
        self._words = require("flashlight.lib.text.dictionary", NEEDED).Dictionary()
        for word in [*lexicon, *([] if UNKNOWN in lexicon else [UNKNOWN])]:
            self._words.add_entry(word)
        self._model = self._language_model(library, model)
        silence = self._silence = tokens.index.get(SEPARATOR, -1) if tokens.kind == "characters" else -1
        trie, start = library.Trie(len(tokens), silence), self._model.start(False)
        for word, spellings in lexicon.items():
            number = self._words.get_index(word)
            score = self._model.score(start, number)[1]
            for spelling in spellings:
                trie.insert([*spelling, *([silence] if silence >= 0 else [])], number, score)
        trie.smear(library.SmearingMode.MAX)
        self._decoder = library.LexiconDecoder(
            self._options(library), trie, self._model, silence, 0, self._words.get_index(UNKNOWN), [], False
        )

    def _language_model(self, library: Any, model: Path | str | None) -> Any:
        if model is None:
            return library.ZeroLM()
        if not Path(model).is_file():
            raise UserError(f"{model}: no such language model. 'sigssl lm TEXT OUT.arpa' builds one.")
        try:
            return require("flashlight.lib.text.decoder.kenlm", NEEDED).KenLM(str(model), self._words)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{model}: KenLM cannot read it: {error}") from None

    def _options(self, library: Any) -> Any:
        settings = self.settings
        return library.LexiconDecoderOptions(
            beam_size=settings.beam,
            beam_size_token=min(settings.tokens, len(self.tokens)),
            beam_threshold=settings.threshold,
            lm_weight=settings.weight * LN10,  # KenLM gives log10
            word_score=settings.bonus,
            unk_score=-np.inf,
            sil_score=0.0,
            log_add=True,
            criterion_type=library.CriterionType.CTC,
        )

    def __call__(self, log_probs: Float[Tensor, "batch time tokens"], lengths: Int[Tensor, " batch"]) -> list[list[Hypothesis]]:
        """The likeliest sequences of lexicon words of each utterance, best first.

        Args:
            log_probs: natural logarithms, blank first; what lies behind `lengths` is not looked at.
            lengths: frames.

        Returns:
            Hypotheses whose acoustic score is summed over all paths, as other searches have it; one empty hypothesis where no
            sequence of words fits the frames.
        """
        return [self._one(rows[:length]) for rows, length in zip(log_probs, lengths.tolist(), strict=True)]

    def _one(self, rows: Tensor) -> list[Hypothesis]:
        values = np.ascontiguousarray(rows.detach().cpu().numpy(), dtype=np.float32)
        found = self._decoder.decode(values.ctypes.data, *values.shape) if len(values) else []
        added: dict[tuple[int, ...], float] = {}
        for result in found:
            sequence = self._collapse(result.tokens)
            words = sum(number >= 0 for number in result.words)
            added.setdefault(sequence, self.settings.weight * LN10 * result.lmScore + self.settings.bonus * words)
        sequences = list(added) or [()]
        acoustic = total_log_prob(rows, sequences).tolist()
        made = [Hypothesis(s, a + added.get(s, 0.0), a) for s, a in zip(sequences, acoustic, strict=True)]
        return sorted(made, key=lambda hypothesis: -hypothesis.score)[: self.settings.nbest]

    def _collapse(self, path: Sequence[int]) -> tuple[int, ...]:
        """Tokens of a path; flashlight puts a separator of its own before and behind it, and those at the ends are dropped."""
        made = collapse([max(token, 0) for token in path])  # without separators its own are -1
        while made and made[0] == self._silence:
            made = made[1:]
        while made and made[-1] == self._silence:
            made = made[:-1]
        return made


def spell(tokens: Tokens, words: Sequence[str]) -> dict[str, list[list[int]]]:
    """A lexicon by spelling; words that the tokens cannot spell whole are left out."""
    made = {}
    for word in words:
        numbers = tokens.encode(word)
        if numbers and tokens.decode(numbers) == word:
            made[word] = [numbers]
    return made


def read_lexicon(path: Path | str, tokens: Tokens) -> dict[str, list[list[int]]]:
    """Read a lexicon file: a word and its tokens on each line, separated by spaces; a word may have several lines.

    Raises:
        UserError: a token that is not in the list, or a word without tokens; the line is named.
    """
    made: dict[str, list[list[int]]] = {}
    for number, word, spelling in read_lines(path):
        unknown = [token for token in spelling.split() if token not in tokens.index]
        if unknown or not spelling:
            fault = f"token {unknown[0]!r} is not in the list" if unknown else "it has no tokens"
            raise UserError(f"{path}:{number}: {word!r}: {fault}. Each line is: WORD TOKEN TOKEN ...")
        made.setdefault(word, []).append([tokens.index[token] for token in spelling.split()])
    return made
