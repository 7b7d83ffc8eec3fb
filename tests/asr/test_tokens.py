"""Tokens: text to numbers and back, normalisation, what is left out, files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigssl.asr.tokens import BLANK, PLAIN, Normaliser, Tokens
from sigssl.errors import UserError

TEXTS = ["The cat sat.", "A cat\u2019s hat - sat!", "the hat"]


@pytest.mark.parametrize(
    ("text", "settings", "wanted"),
    [
        ("Hello,  World!", {}, "hello world"),
        ("Don\u2019t", {}, "don't"),
        ("ten-fold \uff21\uff22", {}, "ten fold ab"),
        ("A  b.", {"case": "upper", "marks": "keep"}, "A B."),
        ("don't", {"kept": ""}, "don t"),
        ("\u00df 5 %", {"case": "keep"}, "\u00df 5"),
    ],
)
def test_normaliser(text: str, settings: dict[str, str], wanted: str) -> None:
    assert Normaliser(**settings)(text) == wanted  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["characters", "words", "subwords"])
def test_what_is_encoded_is_decoded(kind: str, tmp_path: Path) -> None:
    tokens = Tokens.from_texts(kind, TEXTS, size=24)  # type: ignore[arg-type]
    for text in TEXTS:
        assert tokens.decode(tokens.encode(text)) == tokens.normaliser(text)
    tokens.save(tmp_path / "tokens.json")
    again = Tokens.load(tmp_path / "tokens.json")
    assert again == tokens and again.encode(TEXTS[1]) == tokens.encode(TEXTS[1])
    assert tokens.tokens[0] == BLANK and len(tokens) == len(set(tokens.tokens))


def test_characters_have_a_separator_and_words_have_places() -> None:
    tokens = Tokens.from_texts("characters", TEXTS)
    assert tokens.tokens[:3] == [BLANK, "|", "'"]
    numbers = [tokens.index[c] for c in "||the|cat|"]
    assert [tuple(span) for span in tokens.words(numbers)] == [("the", 2, 5), ("cat", 6, 9)]


def test_phones_are_taken_as_they_stand() -> None:
    tokens = Tokens.from_texts("phones", ["AH0 b |", "b"])
    assert tokens.tokens == [BLANK, "AH0", "b", "|"] and tokens.normaliser == PLAIN
    assert tokens.decode(tokens.encode("b AH0 |")) == "b AH0 |"


def test_unknown_characters_are_counted() -> None:
    tokens, unknown = Tokens.from_texts("characters", ["ab"]), Counter[str]()
    assert tokens.decode(tokens.encode("axb xy|", unknown)) == "ab"
    assert unknown == {"x": 2, "y": 1}


def test_a_bar_in_the_text_is_no_separator() -> None:
    tokens = Tokens.from_texts("characters", ["a|b"], PLAIN)
    assert tokens.decode(tokens.encode("a|b")) == "a\u00a6b"


@given(st.lists(st.text("abc' ", max_size=12), min_size=1, max_size=4))
def test_any_text_survives_its_own_characters(texts: list[str]) -> None:
    if any(text.split() for text in texts):
        tokens = Tokens.from_texts("characters", texts)
        assert [tokens.decode(tokens.encode(text)) for text in texts] == [" ".join(text.split()) for text in texts]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"kind": "letters", "tokens": ["<blank>"], "normaliser": {}}', "kind 'letters'"),
        ('{"kind": "words", "tokens": ["<blank>", "a", "a"], "normaliser": {}}', "'a' stands there twice"),
        ('{"kind": "words", "tokens": ["a"], "normaliser": {}}', "begins with"),
        ('{"kind": "words", "tokens": ["<blank>"], "normaliser": {"cases": "lower"}}', "Did you mean 'case'"),
        ('{"tokens": []}', "expected an object"),
    ],
)
def test_faulty_files_are_refused(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "tokens.json").write_text(content)
    with pytest.raises(UserError, match=said):
        Tokens.load(tmp_path / "tokens.json")


def test_no_text_is_refused() -> None:
    with pytest.raises(UserError, match="no transcript has any text"):
        Tokens.from_texts("characters", ["", "..."])
