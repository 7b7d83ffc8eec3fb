"""A word-level language model beside a token-level search: what each prefix of tokens has been given for the words it has ended."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from sigssl.asr.ngram import END, Gram, NGram
from sigssl.asr.tokens import Tokens


@dataclass(frozen=True)
class Fusion:
    """Shallow fusion: score = ln P(tokens | audio) + weight ln P(words) + bonus per word + unknown per word that the model lacks.

    Without the last two, running words together into a few unknown ones is cheap: a word bonus of about 1.5 and 10 nats for an
    unknown word are what pyctcdecode takes. A prefix pays for an unknown word as soon as no known word begins like it.

    Attributes:
        tokens: how token numbers spell words.
        model: the language model.
        weight: of its natural logarithms.
        bonus: added for each word, against the model's liking for few words.
        unknown: added for each word that the model lacks.
    """

    tokens: Tokens
    model: NGram
    weight: float = 0.5
    bonus: float = 1.5
    unknown: float = -10.0

    @cached_property
    def closes(self) -> list[bool]:
        """Whether each token ends the word before it."""
        flags: list[bool] = self.tokens.closes.tolist()
        return flags

    def root(self) -> Prefix:
        """The empty prefix."""
        return Prefix(self.model.start(), "", False)

    @cached_property
    def beginnings(self) -> frozenset[str]:
        """Everything that a known word begins with, itself included."""
        return frozenset(word[:end] for word in self.model.words() for end in range(len(word) + 1))

    def extend(self, prefix: Prefix, token: int) -> Prefix:
        """The prefix with one more token; the word before it is closed where the token says so."""
        spelling = self.tokens.spelling[token]
        if not self.closes[token]:
            word = prefix.word + spelling
            return Prefix(prefix.history, word, prefix.strange or word not in self.beginnings)
        history = self.model.state(prefix.history, prefix.word) if prefix.word else prefix.history
        return Prefix(history, spelling, spelling not in self.beginnings)

    def charge(self, parent: Prefix, child: Prefix, token: int) -> float:
        """What a prefix pays for having become strange by its last token."""
        return self.unknown if child.strange and (self.closes[token] or not parent.strange) else 0.0

    def closing(self, prefix: Prefix) -> float:
        """What closing the unfinished word adds to the score; 0 where there is none."""
        if not prefix.word:
            return 0.0
        late = 0.0 if prefix.strange or self.model.has(prefix.word) else self.unknown
        return self.weight * self.model.score(prefix.history, prefix.word) + self.bonus + late

    def ending(self, prefix: Prefix) -> float:
        """What the end of the sentence adds, the unfinished word closed."""
        history = self.model.state(prefix.history, prefix.word) if prefix.word else prefix.history
        return self.closing(prefix) + self.weight * self.model.score(history, END)

    def of(self, tokens: tuple[int, ...]) -> float:
        """All that the model adds to a sequence of tokens."""
        words = [span.word for span in self.tokens.words(tokens)]
        strange = sum(not self.model.has(word) for word in words)
        return self.weight * self.model.sentence(words) + self.bonus * len(words) + self.unknown * strange


class Prefix(NamedTuple):
    """What the model needs of a prefix.

    Attributes:
        history: the words before its unfinished one.
        word: the unfinished word, "" for none.
        strange: whether no known word begins like it; that is paid for already.
    """

    history: Gram
    word: str
    strange: bool
