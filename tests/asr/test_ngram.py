"""N-gram models: against the formula in plain loops, against KenLM, sums to one, files."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigssl.asr.ngram import LN10, NGram
from sigssl.asr.ngram_build import build
from sigssl.errors import UserError

TEXT = [line.split() for line in ("a b a c", "a b", "c a b a b", "b", "a a a", "c c b a")]
SMOOTHINGS = ("kneser-ney", "witten-bell")
words = st.lists(st.lists(st.sampled_from("abcd"), min_size=2, max_size=6), min_size=1, max_size=8)


@settings(max_examples=30, deadline=None)
@given(words, st.integers(1, 3), st.sampled_from(SMOOTHINGS))
def test_probabilities_sum_to_one_after_any_history(text: list[list[str]], order: int, smoothing: str) -> None:
    model = build(text, order, smoothing, vocabulary=["z"])  # type: ignore[arg-type]
    vocabulary = [*model.words(), "</s>", "<unk>"]
    for history in [("<s>",), ("<s>", "a"), *itertools.product("abcdz", repeat=order - 1)]:
        assert sum(math.exp(model.score(history, word)) for word in vocabulary) == pytest.approx(1)


def kneser_ney_bigram(history: str, word: str, text: list[list[str]]) -> float:
    """The formula with fixed discounts (.5, 1, 1.5), by counting."""
    pairs = [pair for line in text for pair in itertools.pairwise(["<s>", *line, "</s>"])]
    less = (0.5, 1.0, 1.5)
    kinds = set(pairs)
    vocabulary = {word for _, word in pairs} | {"<unk>"}
    before = Counter(word for _, word in kinds)
    lower = max(before[word] - (less[min(before[word], 3) - 1] if before[word] else 0), 0) / len(kinds)
    lower += sum(less[min(n, 3) - 1] for n in before.values()) / len(kinds) / len(vocabulary)
    count, total = pairs.count((history, word)), sum(one == history for one, _ in pairs)
    after = [pairs.count(pair) for pair in kinds if pair[0] == history]
    gamma = sum(less[min(n, 3) - 1] for n in after) / total
    return (count - less[min(count, 3) - 1] if count else 0) / total + gamma * lower


def test_kneser_ney_is_the_formula() -> None:
    text = [TEXT[0], *TEXT[2:]]  # no pair occurs four times, so that discounts cannot be estimated
    model = build(text, 2)
    for history, word in itertools.product(["<s>", "a", "b", "c"], ["a", "b", "c", "</s>", "<unk>"]):
        assert math.exp(model.score((history,), word)) == pytest.approx(kneser_ney_bigram(history, word, text))


def test_witten_bell_is_the_formula() -> None:
    model = build(TEXT, 2, "witten-bell")
    pairs = [pair for line in TEXT for pair in itertools.pairwise(["<s>", *line, "</s>"])]
    one, kinds = Counter(word for _, word in pairs), len({word for _, word in pairs})
    lower = (one["b"] + kinds / 5) / (len(pairs) + kinds)
    after = [word for history, word in pairs if history == "a"]
    assert math.exp(model.score(("a",), "b")) == pytest.approx(
        (after.count("b") + len(set(after)) * lower) / (len(after) + len(set(after)))
    )


def test_discounts_are_estimated_where_counts_allow() -> None:
    text = [[w] for w, n in zip("abcdefghij", (1, 1, 1, 1, 1, 2, 2, 3, 4, 9), strict=True) for _ in range(n)]
    model = build(text, 1)
    share = 5 / (5 + 2 * 2)
    less = [1 - 2 * share * 2 / 5, 2 - 3 * share * 1 / 2, 3 - 4 * share * 1 / 1]
    total = 2 * 25  # 25 words and 25 ends
    gamma = (5 * less[0] + 2 * less[1] + 4 * less[2]) / total
    assert math.exp(model.score((), "a")) == pytest.approx((1 - less[0]) / total + gamma / 12)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("name", ["m.arpa", "m.arpa.gz"])
def test_written_read_and_the_same_in_kenlm(smoothing: str, name: str, tmp_path: Path) -> None:
    model = build(TEXT, 3, smoothing, vocabulary=["z"])  # type: ignore[arg-type]
    model.write(tmp_path / name)
    again = NGram.read(tmp_path / name)
    sentences = [*TEXT, ["z", "a"], ["q", "b"], []]
    for words in sentences:
        assert again.sentence(words) == pytest.approx(model.sentence(words), abs=1e-5)
    kenlm = pytest.importorskip("flashlight.lib.text.decoder.kenlm", reason="flashlight-text is not installed")
    from flashlight.lib.text.dictionary import Dictionary

    known = Dictionary()
    for word in [*model.words(), "<unk>"]:
        known.add_entry(word)
    known.set_default_index(known.get_index("<unk>"))
    theirs = kenlm.KenLM(str(tmp_path / name), known)
    for words in sentences:
        state, total = theirs.start(False), 0.0
        for word in words:
            state, score = theirs.score(state, known.get_index(word))
            total += score
        total += theirs.finish(state)[1]
        assert total * LN10 == pytest.approx(model.sentence(words), abs=1e-4)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("\\end\\", "", "no line"),
        ("ngram 2=", "ngram 2=1", "announces"),
        ("\ta b\t", "\ta b c d\t", r"\d+: 5 fields|\d+: 6 fields"),
    ],
)
def test_damaged_files_are_refused(old: str, new: str, said: str, tmp_path: Path) -> None:
    build(TEXT, 3).write(tmp_path / "m.arpa")
    content = (tmp_path / "m.arpa").read_text()
    assert old in content
    (tmp_path / "m.arpa").write_text(content.replace(old, new, 1))
    with pytest.raises(UserError, match=said):
        NGram.read(tmp_path / "m.arpa")


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no sentences"):
        build([], 2)
    with pytest.raises(UserError, match="order 0"):
        build(TEXT, 0)
    with pytest.raises(UserError, match="'<s>'"):
        build([["a", "<s>"]], 2)
    with pytest.raises(UserError, match="Lower --order to 2"):
        build([[]], 3)
    with pytest.raises(UserError, match="no such language model"):
        NGram.read(tmp_path / "none.arpa")
