"""CTC search against the sum over all paths; never below greedy; padding and batching change nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from asr_toys import random_rows, spoken
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sigssl.asr.beam import BeamSettings, beam_search
from sigssl.asr.ctc import check, collapse, frames_needed, greedy, total_log_prob
from sigssl.asr.fusion import Fusion
from sigssl.asr.ngram_build import build
from sigssl.asr.store import padded
from sigssl.asr.tokens import Tokens
from sigssl.errors import UserError

SIZES = st.integers(0, 6), st.integers(2, 4), st.integers(0, 10**6)


def every_sequence(rows: Tensor) -> dict[tuple[int, ...], float]:
    """ln P of every token sequence, path by path."""
    total: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(rows.shape[1]), repeat=len(rows)):
        score = float(sum(rows[t, k].double() for t, k in enumerate(path)))
        total[collapse(path)] = float(np.logaddexp(total.get(collapse(path), -np.inf), score))
    return total


@settings(max_examples=25, deadline=None)
@given(*SIZES)
def test_a_wide_beam_is_exhaustive_search(time: int, width: int, seed: int) -> None:
    rows = random_rows(seed, min(time, 5), width)
    wanted = sorted(every_sequence(rows).items(), key=lambda item: -item[1])
    wide = BeamSettings(beam=2000, nbest=5000, threshold=1e9)
    found = beam_search(rows[None], torch.tensor([len(rows)]), wide)[0]
    assert [one.tokens for one in found] == [tokens for tokens, _ in wanted]
    np.testing.assert_allclose([one.score for one in found], [score for _, score in wanted], atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40), st.integers(2, 8), st.integers(0, 10**6), st.integers(1, 6), st.floats(0.1, 6.0))
def test_beam_is_never_below_greedy(time: int, width: int, seed: int, beam: int, spread: float) -> None:
    rows = random_rows(seed, time, width, spread)[None]
    lengths = torch.tensor([time])
    best = beam_search(rows, lengths, BeamSettings(beam=beam))[0][0]
    assert best.score >= greedy(rows, lengths)[0].score
    assert best.score == pytest.approx(total_log_prob(rows[0], [best.tokens])[0])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 25), min_size=1, max_size=5), st.integers(0, 10**6), st.booleans())
def test_batching_and_padding_change_nothing(times: list[int], seed: int, with_model: bool) -> None:
    matrices = [random_rows(seed + place, time, 5) for place, time in enumerate(times)]
    batch, lengths = padded(matrices)
    batch = torch.cat([batch, torch.full((len(times), 3, 5), torch.nan)], dim=1)
    for item, time in enumerate(times):
        batch[item, time:] = torch.nan
    tokens = Tokens("characters", ["<blank>", "|", "a", "b", "c"])
    fusion = Fusion(tokens, build([["ab"], ["c", "ab"]], 2), 0.7, 0.2) if with_model else None
    how = BeamSettings(beam=8, nbest=3)
    together = beam_search(batch, lengths, how, fusion)
    alone = [beam_search(rows[None], torch.tensor([len(rows)]), how, fusion)[0] for rows in matrices]
    assert together == alone
    assert greedy(batch, lengths) == [greedy(rows[None], torch.tensor([len(rows)]))[0] for rows in matrices]


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 5), st.integers(0, 10**6), st.sampled_from(["characters", "words"]))
def test_with_a_model_a_wide_beam_is_exhaustive_search_too(time: int, seed: int, kind: str) -> None:
    rows = random_rows(seed, time, 4)
    tokens = Tokens(kind, ["<blank>", "|" if kind == "characters" else "ab", "a", "b"])  # type: ignore[arg-type]
    fusion = Fusion(tokens, build([["a", "ab"], ["b", "a"], ["ab"]], 2), 0.8, 0.5)
    wanted = {sequence: score + fusion.of(sequence) for sequence, score in every_sequence(rows).items()}
    found = beam_search(rows[None], torch.tensor([time]), BeamSettings(beam=2000, nbest=3, threshold=1e9), fusion)[0]
    np.testing.assert_allclose([one.score for one in found], sorted(wanted.values(), reverse=True)[:3], atol=1e-5)
    assert all(wanted[one.tokens] == pytest.approx(one.score, abs=1e-5) for one in found)


def test_a_model_mends_what_the_sound_leaves_open() -> None:
    sentences = ["two one three", "one two", "three one two", "two three"]
    tokens = Tokens.from_texts("characters", sentences)
    fusion = Fusion(tokens, build([s.split() for s in sentences], 3), 1.0, 0.5)
    rows = [spoken(tokens, text, seed=seed, noise=1.8) for seed, text in enumerate(sentences * 3)]
    batch, lengths = padded(rows)
    texts = sentences * 3
    plain = [tokens.decode(one[0].tokens) for one in beam_search(batch, lengths)]
    guided = [tokens.decode(one[0].tokens) for one in beam_search(batch, lengths, fusion=fusion)]
    right = [sum(a == b for a, b in zip(texts, some, strict=True)) for some in (plain, guided)]
    assert right[1] >= right[0] + 5


def test_greedy_collapses_and_counts_all_paths() -> None:
    rows = torch.tensor([[0.6, 0.4], [0.6, 0.4]]).log()
    (best,) = greedy(rows[None], torch.tensor([2]))
    assert best.tokens == () and best.score == pytest.approx(np.log(0.36))
    found = beam_search(rows[None], torch.tensor([2]))[0][0]  # the textbook's case: one token is likelier than silence
    assert found.tokens == (1,) and found.score == pytest.approx(np.log(0.64), abs=1e-6)


def test_frames_needed() -> None:
    assert [frames_needed(some) for some in ([], [1], [1, 1], [1, 2, 2, 2])] == [0, 1, 3, 6]


def test_what_are_no_log_probabilities_is_refused() -> None:
    rows = random_rows(0, 4, 3)
    check(rows, 3, "u")
    check(rows.half().float(), 3, "u")
    for broken, said in ((rows * 2, "row 0 sums to"), (rows.index_fill(0, torch.tensor(2), torch.nan), "row 2 is not a number")):
        with pytest.raises(UserError, match=said):
            check(broken, 3, "u")
    with pytest.raises(UserError, match="3 columns, and there are 4 tokens"):
        check(rows, 4, "u")


def test_settings_are_checked() -> None:
    with pytest.raises(UserError, match="beam 0"):
        BeamSettings(beam=0)
    with pytest.raises(UserError, match="threshold"):
        BeamSettings(threshold=-1.0)
