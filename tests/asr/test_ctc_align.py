"""CTC alignment against every path; times and confidences of words."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from asr_toys import random_rows, spoken
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sigssl.asr.align import token_times, viterbi, word_times
from sigssl.asr.ctc import collapse, frames_needed
from sigssl.asr.store import padded
from sigssl.asr.tokens import Tokens
from sigssl.errors import UserError


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 6), st.lists(st.integers(1, 2), max_size=4), st.integers(0, 10**6))
def test_best_of_all_paths(time: int, target: list[int], seed: int) -> None:
    assume(time >= frames_needed(target))
    rows = random_rows(seed, time, 3)
    (found,) = viterbi(rows[None], torch.tensor([time]), [target])
    paths = [p for p in itertools.product(range(3), repeat=time) if collapse(p) == tuple(target)]
    best = max(float(sum(rows[t, k] for t, k in enumerate(path))) for path in paths)
    assert found.score == pytest.approx(best, abs=1e-4)
    said = [0 if place < 0 else target[place] for place in found.path.tolist()]
    assert float(sum(rows[t, k] for t, k in enumerate(said))) == pytest.approx(best, abs=1e-4)
    places = [place for place in found.path.tolist() if place >= 0]
    assert sorted(set(places)) == list(range(len(target))) and places == sorted(places)


def test_batch_is_as_alone_whatever_is_behind_the_end() -> None:
    rows, targets = [random_rows(seed, time, 4) for seed, time in enumerate((9, 4, 12))], [[1, 1, 2], [], [3, 2]]
    batch, lengths = padded(rows)
    for item, length in enumerate(lengths.tolist()):
        batch[item, length:] = torch.nan
    for one, matrix, target in zip(viterbi(batch, lengths, targets), rows, targets, strict=True):
        (alone,) = viterbi(matrix[None], torch.tensor([len(matrix)]), [target])
        np.testing.assert_array_equal(one.path, alone.path)
        assert one.score == alone.score


def test_words_are_where_they_were_said() -> None:
    tokens = Tokens.from_texts("characters", ["ab cb"])
    rows = spoken(tokens, "ab cb", sure=12.0, gap=2)  # gap 2, then 2 frames and 2 blanks for each of a b | c b
    target = tokens.encode("ab cb")
    (alignment,) = viterbi(rows[None], torch.tensor([len(rows)]), [target])
    times = token_times(rows, target, alignment)
    assert [(one.start, one.stop) for one in times] == [(2, 4), (6, 8), (10, 12), (14, 16), (18, 20)]
    words = word_times(tokens, target, times)
    assert [(one.word, one.start, one.stop) for one in words] == [("ab", 2, 8), ("cb", 14, 20)]
    assert all(0.99 < one.confidence <= 1 for one in words)
    doubtful = word_times(tokens, target, [times[0]._replace(confidence=0.25), *times[1:]])
    assert doubtful[0].confidence == pytest.approx(0.5, abs=0.01)


def test_too_few_frames_and_impossible_tokens() -> None:
    with pytest.raises(UserError, match="utterance 0 has 2 frames; its transcript of 2 tokens needs 3"):
        viterbi(random_rows(0, 2, 3)[None], torch.tensor([2]), [[1, 1]])
    rows = torch.tensor([[0.0, -torch.inf]])
    with pytest.raises(UserError, match="no path"):
        viterbi(rows[None], torch.tensor([1]), [[1]])
