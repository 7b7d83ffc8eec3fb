"""Search over a lexicon through flashlight-text: scores are those of our own formula, and only known words come out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from asr_toys import spoken

from sigssl.asr.ctc import total_log_prob
from sigssl.asr.fusion import Fusion
from sigssl.asr.lexicon import LexiconSearch, LexiconSettings, read_lexicon, spell
from sigssl.asr.ngram_build import build
from sigssl.asr.store import padded
from sigssl.asr.tokens import Tokens
from sigssl.errors import UserError

pytest.importorskip("flashlight.lib.text.decoder", reason="flashlight-text is not installed")
SENTENCES = ["two one three", "one two", "three one two", "two three"]


@pytest.mark.parametrize("kind", ["characters", "subwords", "words"])
def test_finds_the_words_and_scores_them_as_we_do(kind: str, tmp_path: Path) -> None:
    tokens = Tokens.from_texts(kind, SENTENCES, size=20)  # type: ignore[arg-type]
    model = build([line.split() for line in SENTENCES], 3)
    model.write(tmp_path / "m.arpa")
    how = LexiconSettings(nbest=3, weight=0.7, bonus=0.3)
    search = LexiconSearch(tokens, tmp_path / "m.arpa", spell(tokens, model.words()), how)
    rows = [spoken(tokens, text, seed=seed, noise=1.0) for seed, text in enumerate(SENTENCES)]
    fusion = Fusion(tokens, model, 0.7, 0.3)
    for text, matrix, found in zip(SENTENCES, rows, search(*padded(rows)), strict=True):
        assert tokens.decode(found[0].tokens) == text
        for one in found:
            assert one.acoustic == pytest.approx(total_log_prob(matrix, [one.tokens])[0])
            assert one.score - one.acoustic == pytest.approx(fusion.of(one.tokens), abs=1e-3)
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_only_words_of_the_lexicon_come_out() -> None:
    tokens = Tokens.from_texts("characters", SENTENCES)
    search = LexiconSearch(tokens, None, spell(tokens, ["one", "two"]))
    rows = spoken(tokens, "three one", noise=1.0)
    assert set(tokens.decode(search(rows[None], torch.tensor([len(rows)]))[0][0].tokens).split()) <= {"one", "two"}


def test_lexicon_files(tmp_path: Path) -> None:
    tokens = Tokens.from_texts("phones", ["w ah n t uw"])
    (tmp_path / "lexicon").write_text("one w ah n\none w ah\ntwo t uw\n")
    assert read_lexicon(tmp_path / "lexicon", tokens)["one"] == [tokens.encode("w ah n"), tokens.encode("w ah")]
    (tmp_path / "lexicon").write_text("one w ah n\nfive f\n")
    with pytest.raises(UserError, match=r"lexicon:2: 'five': token 'f'"):
        read_lexicon(tmp_path / "lexicon", tokens)


def test_what_cannot_work_is_said(tmp_path: Path) -> None:
    tokens = Tokens.from_texts("characters", SENTENCES)
    assert spell(tokens, ["one", "xylophone", "On"]) == {"one": [tokens.encode("one")]}
    with pytest.raises(UserError, match="lexicon is empty"):
        LexiconSearch(tokens, None, {})
    with pytest.raises(UserError, match="no such language model"):
        LexiconSearch(tokens, tmp_path / "none.arpa", spell(tokens, ["one"]))
