"""A word-level language model beside a token-level search: what each prefix of tokens has been given for the words it has ended."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from sigssl.asr.ngram import END, Gram, NGram
from sigssl.asr.tokens import Tokens


@dataclass(frozen=True)
class Fusion:
    """Shallow fusion: score = ln P(tokens | audio) + weight ln P(words) + bonus per word.

    Attributes:
        tokens: how token numbers spell words.
        model: the language model.
        weight: of its natural logarithms.
        bonus: added for each word, against the model's liking for few words.
    """

    tokens: Tokens
    model: NGram
    weight: float = 0.5
    bonus: float = 0.0

    @cached_property
    def closes(self) -> list[bool]:
        """Whether each token ends the word before it."""
        flags: list[bool] = self.tokens.closes.tolist()
        return flags

    def root(self) -> Prefix:
        """The empty prefix."""
        return Prefix(self.model.start(), "")

    def extend(self, prefix: Prefix, token: int) -> Prefix:
        """The prefix with one more token; the word before it is closed where the token says so."""
        spelling = self.tokens.spelling[token]
        if not self.closes[token]:
            return Prefix(prefix.history, prefix.word + spelling)
        history = self.model.state(prefix.history, prefix.word) if prefix.word else prefix.history
        return Prefix(history, spelling)

    def closing(self, prefix: Prefix) -> float:
        """What closing the unfinished word adds to the score; 0 where there is none."""
        return self.weight * self.model.score(prefix.history, prefix.word) + self.bonus if prefix.word else 0.0

    def ending(self, prefix: Prefix) -> float:
        """What the end of the sentence adds, the unfinished word closed."""
        history = self.model.state(prefix.history, prefix.word) if prefix.word else prefix.history
        return self.closing(prefix) + self.weight * self.model.score(history, END)

    def of(self, tokens: tuple[int, ...]) -> float:
        """All that the model adds to a sequence of tokens."""
        words = [span.word for span in self.tokens.words(tokens)]
        return self.weight * self.model.sentence(words) + self.bonus * len(words)


class Prefix(NamedTuple):
    """What the model needs of a prefix: the history that ends before its unfinished word, and that word ("" for none)."""

    history: Gram
    word: str
