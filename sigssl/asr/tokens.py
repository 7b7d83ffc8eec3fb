"""Text units of speech recognition: characters, words, given phones or sentencepiece, behind one class; how text is normalised.

Every list of tokens begins with the blank of CTC. In lists of characters a token `|` stands between words, in sentencepiece's a
piece that begins a word carries its mark `▁`; of words and phones each token is a word.
"""

from __future__ import annotations

import base64
import io
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from sigssl.data.io import read_json, write_text
from sigssl.errors import UserError, nearest
from sigssl.optional import require

BLANK, SEPARATOR, MARK = "<blank>", "|", "\N{LOWER ONE EIGHTH BLOCK}"
Kind = Literal["characters", "words", "phones", "subwords"]
APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc\uff07\u0060\u00b4", "'"))


@dataclass(frozen=True)
class Normaliser:
    """How transcripts are written before they are cut into tokens, and before they are scored.

    In this order: Unicode form, one kind of apostrophe, case, marks, single spaces.

    Attributes:
        form: Unicode normalisation form (`NFKC` makes full-width and ligatures plain); "none" leaves the text.
        case: lower, upper, or kept.
        marks: "drop" puts a space for every punctuation mark and symbol (Unicode categories P and S), "keep" leaves them.
        kept: the marks that "drop" leaves.
    """

    form: Literal["NFC", "NFKC", "none"] = "NFKC"
    case: Literal["lower", "upper", "keep"] = "lower"
    marks: Literal["drop", "keep"] = "drop"
    kept: str = "'"

    def __call__(self, text: str) -> str:
        """The text, normalised."""
        if self.form != "none":
            text = unicodedata.normalize(self.form, text)
        if self.marks == "drop":
            text = "".join(c if self._stays(c) else " " for c in text.translate(APOSTROPHES))
        text = text.lower() if self.case == "lower" else text.upper() if self.case == "upper" else text
        return " ".join(text.split())

    def _stays(self, character: str) -> bool:
        return character in self.kept or unicodedata.category(character)[0] not in "PS"


PLAIN = Normaliser(form="none", case="keep", marks="keep")  # spaces only


class Span(NamedTuple):
    """A word and the tokens that spell it: positions from `first` up to, not including, `stop`."""

    word: str
    first: int
    stop: int


class Tokens:
    """A list of tokens, and the way from text to their numbers and back.

    Args:
        kind: characters, words, phones (given, between spaces) or subwords (sentencepiece).
        tokens: all of them; the first is the blank.
        normaliser: applied to text before it is encoded.
        model: sentencepiece's serialised model, of subwords only.

    Raises:
        UserError: a token twice, an empty one, or the blank not in the first place.
    """

    def __init__(self, kind: Kind, tokens: Sequence[str], normaliser: Normaliser = Normaliser(), model: bytes = b"") -> None:
        self.kind: Kind = kind
        self.tokens = list(tokens)
        self.normaliser = normaliser
        self.model = model
        self.index = {token: number for number, token in enumerate(self.tokens)}
        again = [token for token, count in Counter(self.tokens).items() if count > 1]
        if again or "" in self.index or self.tokens[:1] != [BLANK]:
            fault = f"{again[0]!r} stands there twice" if again else f"it begins with {self.tokens[:1]}, or holds an empty one"
            raise UserError(f"a list of tokens begins with {BLANK!r} and has each token once; {fault}. Mend the list.")

    def __len__(self) -> int:
        """How many tokens there are, the blank included: the width of a CTC head."""
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokens) and self.as_json() == other.as_json()

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def from_texts(cls, kind: Kind, texts: Iterable[str], normaliser: Normaliser | None = None, size: int = 500) -> Tokens:
        """The tokens that some transcripts need.

        Args:
            kind: what is counted; phones are separated by spaces in the texts and are not normalised.
            texts: transcripts.
            normaliser: by default :class:`Normaliser`'s, for phones none.
            size: how many subwords sentencepiece shall find (fewer where the texts do not hold as many).

        Raises:
            UserError: the texts are empty.
        """
        normaliser = normaliser or (PLAIN if kind == "phones" else Normaliser())
        lines = [line for line in map(normaliser, texts) if line]
        if not lines:
            raise UserError("no transcript has any text, so there are no tokens to find. Check the data directory's `text`.")
        if kind == "subwords":
            model = _train(lines, size)
            return cls(kind, [BLANK, *_pieces(model)], normaliser, model)
        between = [SEPARATOR] if kind == "characters" else []
        found = sorted({unit for line in lines for unit in _units(kind, line)}.difference(between))
        return cls(kind, [BLANK, *between, *found], normaliser)

    def encode(self, text: str, unknown: Counter[str] | None = None) -> list[int]:
        """The numbers of a text's tokens; what the list lacks is left out.

        Args:
            text: as it stands in the transcript.
            unknown: counts each character, word or phone that was left out.
        """
        numbers = []
        for unit in self._cut(self.normaliser(text)):
            if unit in self.index:
                numbers.append(self.index[unit])
            elif unknown is not None:
                unknown[unit] += 1
        return numbers

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of some tokens, words separated by single spaces."""
        return " ".join(span.word for span in self.words(numbers))

    def words(self, numbers: Iterable[int]) -> list[Span]:
        """The words that tokens spell, each with its place among them; empty words (`||`) are none."""
        found: list[Span] = []
        word, first, count = "", 0, 0
        for place, number in enumerate(numbers):
            if self.closes[number]:
                found += [Span(word, first, count)] if word else []
                word = ""
            if self.spelling[number]:
                first = first if word else place
                word, count = word + self.spelling[number], place + 1
        return found + ([Span(word, first, count)] if word else [])

    @cached_property
    def spelling(self) -> list[str]:
        """What each token adds to a word: "" for the blank and between words."""
        mark = {"characters": SEPARATOR, "subwords": MARK}.get(self.kind)
        return ["", *(token.replace(mark, "") if mark else token for token in self.tokens[1:])]

    @cached_property
    def closes(self) -> np.ndarray:
        """Whether each token [V] ends the word before it: the separator, or the first token of a word."""
        if self.kind == "characters":
            ends = [token == SEPARATOR for token in self.tokens]
        elif self.kind == "subwords":
            ends = [token.startswith(MARK) for token in self.tokens]
        else:
            ends = [token != BLANK for token in self.tokens]
        return np.array(ends)

    def as_json(self) -> dict[str, Any]:
        """Plain values, from which :meth:`from_json` makes it anew."""
        made: dict[str, Any] = {"kind": self.kind, "normaliser": asdict(self.normaliser), "tokens": self.tokens}
        return made | ({"model": base64.b64encode(self.model).decode()} if self.model else {})

    @classmethod
    def from_json(cls, content: Any, where: str = "tokens") -> Tokens:
        """The reverse of :meth:`as_json`.

        Raises:
            UserError: something is missing, unknown or of the wrong kind; `where` is named.
        """
        try:
            settings = content["normaliser"]
            known = {field.name for field in fields(Normaliser)}
            for key in settings.keys() - known:
                raise UserError(f"{where}: unknown setting normaliser.{key}.{nearest(key, known)}")
            if content["kind"] not in get_args(Kind):
                raise UserError(f"{where}: kind {content['kind']!r}; expected one of {', '.join(get_args(Kind))}.")
            return cls(
                content["kind"],
                content["tokens"],
                Normaliser(**settings),
                base64.b64decode(content.get("model", ""), validate=True),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{where}: expected an object with kind, normaliser and tokens ({error!r}).") from None

    def save(self, path: Path | str) -> None:
        """Write a JSON file, whole."""
        write_text(path, self.as_text())

    def as_text(self) -> str:
        """What :meth:`save` writes."""
        return json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def load(cls, path: Path | str) -> Tokens:
        """Read a file that :meth:`save` wrote.

        Raises:
            UserError: no such file, or something else is in it.
        """
        return cls.from_json(read_json(path), str(path))

    def _cut(self, text: str) -> list[str]:
        if self.kind != "subwords":
            return _units(self.kind, text)
        pieces: list[str] = self._processor.encode(text, out_type=str)
        return pieces

    @cached_property
    def _processor(self) -> Any:
        return _load(self.model)


def _units(kind: Kind, line: str) -> list[str]:
    """A normalised line as characters or words; a `|` of the text itself is no separator and becomes `¦`."""
    if kind == "characters":
        return list(line.replace(SEPARATOR, "\N{BROKEN BAR}").replace(" ", SEPARATOR))
    return line.split()


def _load(model: bytes) -> Any:
    library = require("sentencepiece", "to encode text as subwords")
    return library.SentencePieceProcessor(model_proto=model)


def _train(lines: list[str], size: int) -> bytes:
    """A unigram model (Kudo 2018) that covers every character; text is normalised before, so sentencepiece leaves it as it is."""
    library = require("sentencepiece", "to find subwords")
    made = io.BytesIO()
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=made,
        vocab_size=size,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return made.getvalue()


def _pieces(model: bytes) -> list[str]:
    processor = _load(model)
    return [processor.id_to_piece(i) for i in range(len(processor)) if not (processor.is_unknown(i) or processor.is_control(i))]
