"""Building n-gram models from text: interpolated modified Kneser-Ney (Chen & Goodman 1999) and Witten-Bell (1991).

Both are of the form P(w | h) = discounted(h w) / total(h) + gamma(h) P(w | h'), h' being h without its first word, down to
the uniform distribution over the vocabulary with `</s>` and `<unk>`. gamma(h) is written as the back-off weight of h.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

from sigssl.asr.ngram import END, LN10, NEVER, START, UNKNOWN, Gram, NGram
from sigssl.errors import UserError

Smoothing = Literal["kneser-ney", "witten-bell"]
FALLBACK = (0.5, 1.0, 1.5)  # discounts where a text has too few n-grams of some count to estimate them (lmplz has the same)


def build(
    sentences: Iterable[Sequence[str]], order: int = 3, smoothing: Smoothing = "kneser-ney", vocabulary: Iterable[str] = ()
) -> NGram:
    """Estimate a model.

    Args:
        sentences: words of each.
        order: longest n-gram.
        smoothing: which of the two; Witten-Bell suits texts of few sentences or words that are not distributed as in language.
        vocabulary: further words to know, which share in the uniform distribution.

    Raises:
        UserError: no sentences, an order below 1, or one of the signs `<s>`, `</s>`, `<unk>` among the words.
    """
    if order < 1:
        raise UserError(f"order {order}; expected 1 or more (3 is common).")
    counts = _count(sentences, order)
    words = {gram[0] for gram in counts[0]} | set(vocabulary)
    words = words - {START} | {END, UNKNOWN}
    adjusted = _continuations(counts) if smoothing == "kneser-ney" else counts
    prob: dict[Gram, float] = {}
    backoff: dict[Gram, float] = {}
    for n, some in enumerate(adjusted, 1):
        discounted, gamma, total = _smooth(some, smoothing)
        backoff |= gamma
        if n == 1:
            share = gamma[()] / len(words)
            prob = {(word,): discounted.get((word,), 0.0) / total[()] + share for word in words}
        else:
            prob |= {gram: value / total[gram[:-1]] + gamma[gram[:-1]] * prob[gram[1:]] for gram, value in discounted.items()}
    backoff.pop((), None)
    logs = {gram: math.log(value) for gram, value in prob.items()} | {(START,): NEVER * LN10}
    return NGram(order, logs, {gram: math.log(value) for gram, value in backoff.items()})


def _count(sentences: Iterable[Sequence[str]], order: int) -> list[Counter[Gram]]:
    """How often each n-gram occurs, for n = 1 ... order; `<s>` alone is no event and is not counted."""
    counts: list[Counter[Gram]] = [Counter() for _ in range(order)]
    for words in sentences:
        if strange := {START, END, UNKNOWN}.intersection(words):
            raise UserError(f"the text holds {min(strange)!r}, which the model uses itself. Take it out, or write it another way.")
        padded = (START, *words, END)
        for n in range(1, order + 1):
            counts[n - 1].update(padded[i : i + n] for i in range(n == 1, len(padded) - n + 1))
    if not counts[0]:
        raise UserError("the text has no sentences, so there is nothing to build a model from. Check the file.")
    for n in range(1, order):  # a text of one-word sentences has no longer n-grams than `<s> w </s>`
        if not counts[n]:
            raise UserError(f"no sentence is long enough for n-grams of {n + 1} words. Lower --order to {n}.")
    return counts


def _continuations(counts: list[Counter[Gram]]) -> list[Counter[Gram]]:
    """Below the highest order, an n-gram counts as often as there are words before it; one that begins a sentence as it occurs."""
    adjusted = [Counter({gram: count for gram, count in some.items() if gram[0] == START}) for some in counts[:-1]]
    for n, some in enumerate(counts[1:]):
        adjusted[n].update(gram[1:] for gram in some)
    return [*adjusted, counts[-1]]


def _smooth(counts: Counter[Gram], smoothing: Smoothing) -> tuple[dict[Gram, float], dict[Gram, float], dict[Gram, float]]:
    """Discounted counts of n-grams; and of each history gamma and total."""
    total: defaultdict[Gram, float] = defaultdict(float)
    left: defaultdict[Gram, float] = defaultdict(float)  # mass for the lower order, as a count
    discounts = _discounts(counts) if smoothing == "kneser-ney" else (0.0, 0.0, 0.0)
    discounted: dict[Gram, float] = {}
    for gram, count in counts.items():
        less = discounts[min(count, 3) - 1]
        discounted[gram] = count - less
        total[gram[:-1]] += count
        left[gram[:-1]] += less if smoothing == "kneser-ney" else 1.0
    if smoothing == "witten-bell":
        for history, types in left.items():
            total[history] += types
    return discounted, {history: left[history] / total[history] for history in total}, dict(total)


def _discounts(counts: Counter[Gram]) -> tuple[float, float, float]:
    """Discounts of n-grams that occur once, twice, and more often (Chen & Goodman 1999, equation 26)."""
    of = Counter(counts.values())
    if not all(of[n] for n in (1, 2, 3, 4)):
        return FALLBACK
    share = of[1] / (of[1] + 2 * of[2])
    one, two, three = (n - (n + 1) * share * of[n + 1] / of[n] for n in (1, 2, 3))
    return (one, two, three) if 0 < one <= 1 and 0 < two <= 2 and 0 < three <= 3 else FALLBACK
