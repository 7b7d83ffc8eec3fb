"""The plan over shards: every item once, equal steps on all ranks, shards one after the other, the same plan again."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigssl.data.batching import Position, ShardBatching
from sigssl.errors import UserError

CASES = st.tuples(st.integers(1, 120), st.integers(1, 9), st.integers(1, 5), st.integers(1, 40), st.integers(0, 99))


def make(items: int, shards: int, world: int, window: int, seed: int, batch_seconds: float = 12.0) -> ShardBatching:
    rng = np.random.default_rng(seed)
    return ShardBatching(
        rng.uniform(0.5, 6.0, items), np.sort(rng.integers(0, shards, items)), batch_seconds, 8, 0.3, world, seed, window
    )


@settings(max_examples=60)
@given(CASES)
def test_every_item_once_and_equal_steps(case: tuple[int, int, int, int, int]) -> None:
    items, shards, world, window, seed = case
    if items < world:
        return
    batching = make(items, shards, world, window, seed)
    for epoch in (0, 1):
        plan = batching.plan(epoch)
        seen = [item for step in plan for batch in step for item in batch.tolist()]
        assert len(set(seen)) == len(seen)
        windows = max(1, round(-(-items // world) / window))
        assert items - len(seen) <= (world - 1) * windows  # only where every batch of a rank is of one item
        for batch in plan.ravel():
            longest = batching.durations[batch].max()
            assert len(batch) == 1 or longest * len(batch) <= 12.0 + 1e-9
            assert longest <= batching.durations[batch].min() / 0.7 + 1e-9


def test_a_rank_reads_a_few_shards_at_a_time() -> None:
    rng = np.random.default_rng(0)
    shards = np.repeat(np.arange(100), 50)
    batching = ShardBatching(rng.uniform(1, 2, 5000), shards, 20.0, world=2, seed=1, window=200)
    plan = batching.plan(0)
    for rank in range(2):
        read = [set(shards[batch].tolist()) for batch in plan[:, rank]]
        last = {shard: step for step, some in enumerate(read) for shard in some}
        first = {shard: step for step, some in reversed(list(enumerate(read))) for shard in some}
        open_at = [sum(first[s] <= step <= last[s] for s in first) for step in range(len(read))]
        assert max(open_at) <= 200 // 50 + 2
        assert len(first) <= 51  # half of the shards, and one that both ranks read a part of
    orders = [tuple(dict.fromkeys(shards[b[0]] for b in batching.plan(epoch)[:, 0])) for epoch in (0, 1)]
    assert orders[0] != orders[1]


@settings(max_examples=20)
@given(CASES, st.integers(0, 30))
def test_going_on_from_a_position_is_the_same_stream(case: tuple[int, int, int, int, int], steps: int) -> None:
    items, shards, world, window, seed = case
    if items < world:
        return
    one, other = make(items, shards, world, window, seed), make(items, shards, world, window, seed)
    position = Position()
    for _ in range(steps):
        position = one.after(position)
    ahead = list(islice(one.stream(world - 1), steps + 5))[steps:]
    assert list(islice(other.stream(world - 1, position), 5)) == ahead


def test_settings_are_checked() -> None:
    with pytest.raises(UserError, match="window is 0"):
        make(10, 2, 1, 0, 0)
