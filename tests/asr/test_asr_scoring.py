"""Error rates: golden values, jiwer's totals, Kaldi's forms."""

from __future__ import annotations

import jiwer
import pytest

from sigssl.asr.scoring import alignments, kaldi_line, score, summarise
from sigssl.asr.tokens import PLAIN, Normaliser
from sigssl.errors import UserError
from sigssl.reports.asr import asr_page

REF = {"a-1": "the cat sat", "a-2": "on the mat", "b-1": "yes", "c-1": ""}
HYP = {"a-1": "the cat sit", "a-2": "on mat now", "c-1": "uh", "x-9": "stray"}
SPEAKER = {"a-1": "a", "a-2": "a", "b-1": "b", "c-1": "c"}


def test_counts_alignment_and_rates() -> None:
    scored = score(REF, HYP, SPEAKER, PLAIN)
    by_id = {one.id: one for one in scored}
    assert tuple(by_id["a-1"].words) == (2, 1, 0, 0) and tuple(by_id["b-1"].words) == (0, 0, 1, 0)
    assert next(tuple(pair) for pair in by_id["a-2"].pairs) == ("on", "on", "C")
    result = summarise(scored, draws=200)
    wer = result["wer"]
    assert (wer["errors"], wer["total"]) == (1 + 2 + 1 + 1, 7) and wer["value"] == pytest.approx(5 / 7)
    ids = sorted(REF)
    texts = [REF[i] for i in ids], [HYP.get(i, "") for i in ids]
    assert wer["value"] == pytest.approx(jiwer.wer(*texts)) and result["cer"]["value"] == pytest.approx(jiwer.cer(*texts))
    assert kaldi_line(wer).startswith("%WER 71.43 [ 5 / 7, ") and wer["low"] <= wer["value"] <= wer["high"]
    assert result["by_speaker"]["b"]["wer"] == 1.0 and result["by_speaker"]["c"]["wer"] is None
    assert {"reference": "sat", "hypothesis": "sit", "count": 1} in result["confusions"]["substitutions"]
    assert result["interval_over"] == "speakers"


def test_files_as_kaldi_writes_them() -> None:
    text = alignments(score({"u": "a b c"}, {"u": "a x"}, {}, PLAIN)).splitlines()
    assert text == ["u ref  a  b  c", "u hyp  a  x  ***", "u op   C  S  D", "u #csid 1 1 0 1"] or text[3] == "u #csid 1 1 0 1"
    assert text[0].split() == ["u", "ref", "a", "b", "c"] and len(text[1].split()) == 5


def test_normalised_before_it_is_compared() -> None:
    (one,) = score({"u": "The CAT."}, {"u": "the cat"}, {}, Normaliser())
    assert one.words.errors == 0
    page = asr_page(
        summarise([one], 10) | {"settings": {"missing": 0, "unused": 0, "bootstrap": 10, "normaliser": {"case": "lower"}}}
    )
    assert "%WER 0.00 [ 0 / 2" in page and "every word was recognised" in page


def test_nothing_to_score_is_said() -> None:
    with pytest.raises(UserError, match="no utterance in common"):
        score({"u": "a"}, {"v": "a"}, {}, PLAIN)
    with pytest.raises(UserError, match="no reference transcript has a word"):
        score({"u": ""}, {"u": "a"}, {}, PLAIN)
