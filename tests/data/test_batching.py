"""Properties of the batch plan: complete, equal on all ranks, bounded padding and size, and a function of (seed, epoch) alone."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigssl.data.batching import Batching, Position, derive
from sigssl.errors import UserError

SETTINGS = st.fixed_dictionaries(
    {
        "durations": st.lists(st.floats(0.05, 40.0), min_size=8, max_size=200),
        "batch_seconds": st.floats(0.5, 120.0),
        "max_items": st.integers(1, 64),
        "padding": st.floats(0.05, 0.6),
        "world": st.integers(1, 8),
        "seed": st.integers(0, 10),
    }
)


def make(chosen: dict[str, Any]) -> Batching:
    return Batching(**{**chosen, "durations": np.array(chosen["durations"])})


@settings(max_examples=150, deadline=None)
@given(SETTINGS, st.integers(0, 3))
def test_every_item_once_within_bounds_and_equal_steps(chosen: dict[str, Any], epoch: int) -> None:
    batching = make(chosen)
    plan = batching.plan(epoch)
    assert plan.shape == (batching.steps(epoch), batching.world)
    items = np.concatenate(list(plan.ravel())).tolist()
    singles = len(items) == plan.size
    assert len(set(items)) == len(items)
    assert len(items) == len(batching.durations) or (singles and len(batching.durations) - len(items) < batching.world)
    for batch in plan.ravel():
        seconds = batching.durations[batch]
        padded = seconds.max() * len(batch)
        assert 1 <= len(batch) <= batching.max_items
        assert padded <= batching.batch_seconds * (1 + 1e-9) or len(batch) == 1
        assert 1 - seconds.sum() / padded <= batching.padding + 1e-9


@settings(max_examples=30, deadline=None)
@given(SETTINGS, st.integers(0, 3), st.data())
def test_a_stream_can_start_anywhere(chosen: dict[str, Any], rank: int, data: st.DataObject) -> None:
    batching = make(chosen)
    rank %= batching.world
    whole = list(islice(batching.stream(rank), 25))
    k = data.draw(st.integers(0, 24))
    position = batching.after(whole[k - 1].position) if k else Position()
    assert list(islice(make(chosen).stream(rank, position), 25 - k)) == whole[k:]


def test_order_depends_on_seed_and_epoch() -> None:
    seconds = np.random.default_rng(0).uniform(1, 10, 100)
    orders = [[b.tolist() for b in Batching(seconds, 30.0, seed=s).plan(e).ravel()] for s, e in [(0, 0), (0, 1), (1, 0), (0, 0)]]
    assert orders[0] == orders[3] and orders[0] != orders[1] and orders[0] != orders[2]


def test_ranks_of_one_step_work_on_similar_lengths() -> None:
    batching = Batching(np.random.default_rng(0).uniform(1, 15, 3000), 60.0, world=2)
    longest = np.array([[batching.durations[b].max() for b in step] for step in batching.plan(0)])
    assert np.mean(longest.max(1) / longest.min(1) < 1.3) > 0.97


def test_derive_is_fixed_forever() -> None:
    """Changing it would change every published run."""
    assert derive(0, "order", 0) == 6759659632403048684
    assert derive(1, "a", "b") != derive(1, "ab") and 0 <= derive(0, "x") < 2**63


@pytest.mark.parametrize(
    ("seconds", "options", "message"),
    [
        ([1.0], {"world": 2}, "1 utterances for 2 ranks"),
        ([1.0], {"padding": 0.0}, "0 < padding"),
        ([1.0, 0.0], {}, "positive number"),
    ],
)
def test_wrong_settings_are_refused(seconds: list[float], options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Batching(np.array(seconds), 10.0, **options)
