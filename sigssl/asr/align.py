"""Forced alignment by CTC (Viterbi over the states blank, token, blank, ..., blank), and times and confidences of words from it.

CTC models say a token in few frames, often one, with blanks between, so a word's times run from the first frame of its first
token to the last of its last: its middle is right, its edges are tight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from sigssl.asr.ctc import frames_needed
from sigssl.asr.tokens import Tokens
from sigssl.errors import UserError


class Alignment(NamedTuple):
    """The best path of a transcript.

    Attributes:
        path: for each frame [T] the position in the transcript of the token that is said, -1 for blank.
        score: ln P of the path.
    """

    path: np.ndarray
    score: float


class Timed(NamedTuple):
    """A word or token in time: frames from `start` up to, not including, `stop`, and how sure the model is, 0 to 1."""

    word: str
    start: int
    stop: int
    confidence: float


def viterbi(
    log_probs: Float[Tensor, "batch time tokens"], lengths: Int[Tensor, " batch"], targets: Sequence[Sequence[int]]
) -> list[Alignment]:
    """The best path of each transcript through its utterance.

    Args:
        log_probs: natural logarithms, blank first; what lies behind `lengths` is not looked at.
        lengths: frames.
        targets: tokens of each transcript; an empty one is all blank.

    Raises:
        UserError: an utterance has fewer frames than its transcript needs, or no path has a probability above zero.
    """
    sizes = lengths.tolist()
    for item, (size, target) in enumerate(zip(sizes, targets, strict=True)):
        if size < frames_needed(target):
            raise UserError(
                f"utterance {item} has {size} frames; its transcript of {len(target)} tokens needs {frames_needed(target)}. "
                f"Leave it out, or check that audio and transcript belong together."
            )
    rows = log_probs.detach().cpu().numpy()
    states = 2 * max(map(len, targets), default=0) + 1
    token = np.zeros((len(sizes), states), dtype=np.int64)  # blank at even states; behind a transcript's end nothing is reached
    for item, target in enumerate(targets):
        token[item, 1 : 2 * len(target) : 2] = target
    skips = np.zeros(token.shape, dtype=bool)  # from the token before, where the two differ
    skips[:, 2:] = (token[:, 2:] != 0) & (token[:, 2:] != token[:, :-2])
    steps, last = _forward(rows, np.asarray(sizes, dtype=np.int64), token, skips)
    return [_read(steps[:, item], last[item], sizes[item], len(target)) for item, target in enumerate(targets)]


def _forward(rows: np.ndarray, sizes: np.ndarray, token: np.ndarray, skips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many states back each state's best predecessor is [T, B, S], and the scores in each utterance's last frame [B, S]."""
    batch, states = token.shape
    steps = np.zeros((int(sizes.max(initial=0)), batch, states), dtype=np.int8)
    before = np.full((batch, states + 2), -np.inf)  # two states that nothing reaches stand in front
    before[:, 2] = 0.0  # before the first frame the path stands in the first blank; the first token is a step of one from there
    last = before[:, 2:].copy()
    for t in range(len(steps)):
        ways = np.stack([before[:, 2:], before[:, 1:-1], np.where(skips, before[:, :-2], -np.inf)])
        steps[t] = ways.argmax(0)
        now = ways.max(0) + np.take_along_axis(rows[:, t], token, 1)
        before[:, 2:] = now
        last[sizes == t + 1] = now[sizes == t + 1]
    return steps, last


def _read(steps: np.ndarray, last: np.ndarray, size: int, length: int) -> Alignment:
    """Follow the best predecessors back from the last token or the blank behind it."""
    ends = [2 * length] + ([2 * length - 1] if length else [])
    state = max(ends, key=lambda place: last[place])
    score = float(last[state])
    if not np.isfinite(score):
        raise UserError("no path of this transcript has a probability above zero; check that its tokens are the model's.")
    path = np.full(size, -1, dtype=np.int64)
    for t in range(size - 1, -1, -1):
        path[t] = state // 2 if state % 2 else -1
        state -= int(steps[t, state])
    return Alignment(path, score)


def token_times(log_probs: Float[Tensor, "time vocabulary"], target: Sequence[int], alignment: Alignment) -> list[Timed]:
    """When each token of a transcript is said; its confidence is the largest probability that it has in a frame of its own.

    Args:
        log_probs: of the utterance, without padding.
        target: the tokens; their numbers stand in `word`.
        alignment: from :func:`viterbi`.
    """
    said = np.flatnonzero(alignment.path >= 0)
    places = alignment.path[said]
    first, stop = np.searchsorted(places, np.arange(len(target))), np.searchsorted(places, np.arange(len(target)), side="right")
    rows = log_probs.detach().cpu().numpy()
    found = []
    for token, one, end in zip(target, first.tolist(), stop.tolist(), strict=True):
        frames = said[one:end]
        peak = float(np.exp(min(rows[frames, token].max(), 0.0)))
        found.append(Timed(str(token), int(frames[0]), int(frames[-1]) + 1, peak))
    return found


def word_times(tokens: Tokens, target: Sequence[int], times: Sequence[Timed]) -> list[Timed]:
    """When each word is said; its confidence is the geometric mean of its tokens'.

    Args:
        tokens: how numbers spell words.
        target: the transcript.
        times: of its tokens, from :func:`token_times`.
    """
    found = []
    for word, first, stop in tokens.words(target):
        own = [time for time, number in zip(times[first:stop], target[first:stop], strict=True) if tokens.spelling[number]]
        sure = float(np.exp(np.mean([np.log(max(time.confidence, 1e-30)) for time in own])))
        found.append(Timed(word, own[0].start, own[-1].stop, sure))
    return found
