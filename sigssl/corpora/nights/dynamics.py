"""Which stage follows which, and for how long: a semi-Markov model with a clock of the night and a clock of the cycle.

A bout of a stage ends in another stage with a probability that depends on how late in the night it is and on how long ago the last
REM sleep was; its length is drawn from quantiles that depend on the time of night. `fit` makes the statistics from hypnograms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from sigssl.errors import UserError

STATES = ("W", "1", "2", "3", "4", "R", "M")  # Rechtschaffen & Kales' stages; M is movement time
SLEEP = frozenset("1234R")
EPOCH = 0.5  # minutes
NIGHT = (120.0, 240.0, 360.0)  # minutes since sleep began, where the parts of the night meet
NEVER = float("inf")  # minutes since a REM sleep that was not yet
CYCLE = (5.0, 30.0, 60.0, 90.0)  # minutes since the last REM sleep, where the parts of the cycle meet
FIRST = (30.0, 60.0)  # minutes since sleep began, where the parts of the time before any REM sleep meet
QUANTILES = (0.0, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.97, 1.0)
ENOUGH = 20  # bouts below which a part of the night takes the quantiles of the whole night
PRIOR = 8.0  # how many bouts the transitions of the whole night count for in each part


def bouts(night: Sequence[str]) -> list[tuple[str, int]]:
    """The sleep period, from the first epoch of sleep to the last, as runs (state, epochs); empty where nobody slept."""
    asleep = [n for n, state in enumerate(night) if state in SLEEP]
    if not asleep:
        return []
    return [(state, len(list(run))) for state, run in groupby(night[asleep[0] : asleep[-1] + 1])]


def fit(nights: Iterable[Sequence[str]]) -> dict[str, Any]:
    """The statistics of hypnograms, in 30-s epochs scored by Rechtschaffen & Kales.

    Args:
        nights: one of :data:`STATES` per epoch; whatever else (`?`) interrupts the sequence and counts for nothing.

    Returns:
        `nights` and `bouts` (counts), `transitions` [state, part of the night, phase, next state] (probabilities),
        `lengths` [state, part of the night, quantile] (epochs), `states`, `quantiles`: plain lists, ready for JSON.

    Raises:
        UserError: no sleep in any of them.
    """
    counts = np.zeros((len(STATES), len(NIGHT) + 1, len(CYCLE) + len(FIRST) + 2, len(STATES)))
    lengths: dict[tuple[int, int], list[int]] = {}
    used = 0
    for night in nights:
        runs = bouts(night)
        used += bool(runs)
        since, rem = 0.0, NEVER
        for (state, length), (after, _) in zip(runs, [*runs[1:], ("end", 0)], strict=False):
            part, minutes = int(np.searchsorted(NIGHT, since, "right")), length * EPOCH
            since, rem = since + minutes, 0.0 if state == "R" else rem + minutes
            if state not in STATES:
                continue
            lengths.setdefault((STATES.index(state), part), []).append(length)
            if after in STATES:
                counts[STATES.index(state), part, phase(since, rem), STATES.index(after)] += 1
    if not used:
        raise UserError("no hypnogram with sleep in it; expected W, 1, 2, 3, 4, R or M per 30-s epoch.")
    return {
        "nights": used,
        "bouts": sum(map(len, lengths.values())),
        "states": list(STATES),
        "quantiles": list(QUANTILES),
        "transitions": np.round(_probabilities(counts), 4).tolist(),
        "lengths": [[_quantiles(lengths, state, part) for part in range(len(NIGHT) + 1)] for state in range(len(STATES))],
    }


def phase(since: float, rem: float) -> int:
    """The part of the cycle, `since` minutes after sleep began and `rem` minutes after the last REM sleep."""
    if rem == NEVER:
        return len(CYCLE) + 1 + int(np.searchsorted(FIRST, since, "right"))
    return int(np.searchsorted(CYCLE, rem, "right"))


def _probabilities(counts: np.ndarray) -> np.ndarray:
    """Transition probabilities, drawn towards those of the whole night where there are few bouts."""
    whole = counts.sum((1, 2))
    total = whole.sum(1, keepdims=True)
    stay_away = 1 - np.eye(len(STATES))  # a state never met is left for any other
    whole = np.where(total > 0, whole / np.maximum(total, 1), stay_away / stay_away.sum(1, keepdims=True))
    raised = counts + PRIOR * whole[:, None, None]
    return np.asarray(raised / raised.sum(-1, keepdims=True))


def _quantiles(lengths: dict[tuple[int, int], list[int]], state: int, part: int) -> list[float]:
    """Quantiles of the bout lengths of a state in a part of the night."""
    found = lengths.get((state, part), [])
    if len(found) < ENOUGH:
        found = [length for (other, _), some in lengths.items() if other == state for length in some] or [1]
    return [round(float(q), 2) for q in np.quantile(found, QUANTILES)]


def draw(statistics: dict[str, Any], epochs: int, rng: np.random.Generator, speed: float = 1.0) -> list[str]:
    """A sleep period drawn from the statistics.

    Args:
        statistics: as `fit` gives them.
        epochs: its length.
        rng: source of every draw.
        speed: how much faster than real time the night passes: above 1 bouts are shorter and the clocks faster, so that a short
            recording still holds a whole night's course.

    Returns:
        One of `statistics["states"]` per epoch; the first is stage 1.
    """
    states, quantiles = statistics["states"], statistics["quantiles"]
    transitions, lengths = np.asarray(statistics["transitions"]), np.asarray(statistics["lengths"])
    night: list[str] = ["1"]
    state, since, rem = states.index("1"), 0.0, NEVER
    while len(night) < epochs:
        part = int(np.searchsorted(NIGHT, since, "right"))
        length = float(np.interp(rng.random(), quantiles, lengths[state, part]))
        run = int(length / speed + rng.random())  # none, at speed, for what is too short to be seen
        night += [states[state]] * run
        minutes = run * EPOCH * speed
        since, rem = since + minutes, 0.0 if states[state] == "R" else rem + minutes
        odds = transitions[state, part, phase(since, rem)]
        state = int(np.searchsorted(np.cumsum(odds) / odds.sum(), rng.random(), "right"))
    return night[:epochs]
