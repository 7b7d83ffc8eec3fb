"""Batches of similar lengths by total seconds, in an order that follows from (seed, epoch) alone.

So nothing of the order is ever stored: a run resumes at (epoch, step) by computing that epoch's plan again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from sigssl.errors import UserError


class Position(NamedTuple):
    """Where a run stands: `step` batches of `epoch` are behind it (on each rank)."""

    epoch: int = 0
    step: int = 0


class Planned(NamedTuple):
    """One batch of one rank, before it is read: the position it stands at, and the items it is made of."""

    position: Position
    items: tuple[int, ...]


def derive(seed: int, *names: object) -> int:
    """A 63-bit seed from a seed and whatever tells the cases apart (epoch, utterance id ...), the same on every machine."""
    text = "\0".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


class Batching:
    """Plans batches for all ranks.

    Items are sorted into buckets whose longest item is at most 1 / (1 - `padding`) times their shortest, shuffled within, and cut
    into batches of near-equal size. One bucket's batches are then dealt to the ranks step by step, so that ranks work on similar
    lengths, and the steps are shuffled. Every item comes once per epoch; all ranks have the same number of steps, for which
    large batches are halved where needed. (Where every batch is of one item, fewer than `world` items sit out, others each epoch.)

    Args:
        durations: seconds of each item, as it will be in the batch (after cropping).
        batch_seconds: seconds per batch and rank, padding included; an item longer than this gets a batch of its own.
        max_items: most items in a batch.
        padding: largest share of a batch that may be padding.
        world: number of ranks.
        seed: of the order.

    Raises:
        UserError: fewer items than ranks, or a setting out of range.
    """

    def __init__(
        self, durations: np.ndarray, batch_seconds: float, max_items: int = 512, padding: float = 0.2, world: int = 1, seed: int = 0
    ) -> None:
        if len(durations) < world or len(durations) == 0:
            raise UserError(f"{len(durations)} utterances for {world} ranks: there must be at least one for each.")
        if not (0.0 < padding < 1.0 and batch_seconds > 0 and max_items > 0):
            raise UserError(
                f"expected 0 < padding < 1, batch_seconds > 0, max_items > 0; got padding {padding}, "
                f"batch_seconds {batch_seconds}, max_items {max_items}."
            )
        self.durations = np.asarray(durations, dtype=np.float64)
        if not (np.isfinite(self.durations).all() and (self.durations > 0).all()):
            raise UserError(f"item {int(np.argmin(self.durations))}: every duration must be a positive number of seconds.")
        self.batch_seconds, self.max_items, self.padding, self.world, self.seed = batch_seconds, max_items, padding, world, seed
        self._buckets = self._make_buckets()
        self._last: tuple[int, np.ndarray] | None = None

    def plan(self, epoch: int) -> np.ndarray:
        """The epoch's batches, an object array [steps, ranks] of int64 arrays of item numbers."""
        if self._last is None or self._last[0] != epoch:
            self._last = (epoch, self._plan(np.random.Generator(np.random.Philox(derive(self.seed, "order", epoch)))))
        return self._last[1]

    def steps(self, epoch: int) -> int:
        """Steps of an epoch, the same on every rank."""
        return len(self.plan(epoch))

    def stream(self, rank: int = 0, start: Position = Position()) -> Iterator[Planned]:  # noqa: B008 - immutable
        """One rank's batches from `start` on, epoch after epoch without end."""
        epoch, step = start
        while True:
            plan = self.plan(epoch)
            for at in range(step, len(plan)):
                yield Planned(Position(epoch, at), tuple(plan[at, rank].tolist()))
            epoch, step = epoch + 1, 0

    def after(self, position: Position) -> Position:
        """The position behind the batch that stands at `position`."""
        epoch, step = position
        return Position(epoch, step + 1) if step + 1 < self.steps(epoch) else Position(epoch + 1, 0)

    def _make_buckets(self, items: np.ndarray | None = None) -> list[np.ndarray]:
        """Items (all by default) of each bucket, by rising duration."""
        items = np.arange(len(self.durations)) if items is None else items
        order = items[np.argsort(self.durations[items], kind="stable")]
        rising = self.durations[order]
        buckets, begin = [], 0
        while begin < len(order):
            end = int(np.searchsorted(rising, rising[begin] / (1.0 - self.padding), side="right"))
            buckets.append(order[begin:end])
            begin = end
        return buckets

    def _cut(self, bucket: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """A bucket, shuffled, in batches of near-equal size."""
        fit = max(1, min(self.max_items, int(self.batch_seconds / self.durations[bucket[-1]] + 1e-9)))
        made = np.array_split(rng.permutation(bucket), math.ceil(len(bucket) / fit))
        return [made[i] for i in rng.permutation(len(made))]

    def _plan(self, rng: np.random.Generator) -> np.ndarray:
        batches: list[np.ndarray] = []
        for bucket in self._buckets:
            batches.extend(self._cut(bucket, rng))
        while len(batches) % self.world:
            if not halve(batches):  # other items sit out each epoch
                del batches[rng.integers(len(batches))]
        plan = np.empty((len(batches) // self.world, self.world), dtype=object)
        for i, batch in enumerate(batches):
            plan[i // self.world, i % self.world] = batch
        return plan[rng.permutation(len(plan))]


class ShardBatching(Batching):
    """Plans batches of items that lie in shards (tar files), so that each rank reads one shard after the other.

    In every epoch the shards are put in another order and laid end to end; each rank takes an equal stretch of that. Within
    windows of some thousand items of its stretch a rank's batches are made as :class:`Batching` makes them. So what is shuffled
    together are the shards of a window, each item comes once per epoch, and all ranks have the same number of steps.

    Args:
        durations: seconds of each item.
        shards: of each item the number of its shard; items of a shard are read in their own order.
        batch_seconds: as for :class:`Batching`, as are `max_items`, `padding`, `world` and `seed`.
        max_items: most items in a batch.
        padding: largest share of padding.
        world: number of ranks.
        seed: of the order.
        window: items of a rank that are shuffled together.

    Raises:
        UserError: as :class:`Batching`, or a window of less than one item.
    """

    def __init__(
        self,
        durations: np.ndarray,
        shards: np.ndarray,
        batch_seconds: float,
        max_items: int = 512,
        padding: float = 0.2,
        world: int = 1,
        seed: int = 0,
        window: int = 10_000,
    ) -> None:
        super().__init__(durations, batch_seconds, max_items, padding, world, seed)
        if window < 1:
            raise UserError(f"data.window is {window}; expected how many utterances are shuffled together, 1 or more.")
        self.window = window
        order = np.argsort(shards, kind="stable")
        self._runs = np.split(order, np.flatnonzero(np.diff(shards[order])) + 1)

    def _plan(self, rng: np.random.Generator) -> np.ndarray:
        order = np.concatenate([self._runs[k] for k in rng.permutation(len(self._runs))])
        stretches = np.array_split(order, self.world)
        windows = max(1, round(len(stretches[0]) / self.window))
        parts = zip(*(np.array_split(stretch, windows) for stretch in stretches), strict=True)
        return np.concatenate([self._steps(part, rng) for part in parts if all(map(len, part))])

    def _steps(self, parts: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
        """The steps [steps, ranks] of one window: of each rank its own part, ranks side by side by length."""
        columns = [[b for bucket in self._make_buckets(part) for b in self._cut(bucket, rng)] for part in parts]
        steps = min(max(map(len, columns)), min(map(len, parts)))
        plan = np.empty((steps, self.world), dtype=object)
        for rank, batches in enumerate(columns):
            while len(batches) < steps:
                halve(batches)
            while len(batches) > steps:  # one item more than another rank has: it sits out
                del batches[rng.integers(len(batches))]
            for step, batch in enumerate(batches):
                plan[step, rank] = batch
        return plan[rng.permutation(steps)]


def halve(batches: list[np.ndarray]) -> bool:
    """Make two batches of the largest; False where each is of one item."""
    largest = max(range(len(batches)), key=lambda i: len(batches[i]))
    whole = batches[largest]
    if len(whole) > 1:
        batches[largest : largest + 1] = [whole[: len(whole) // 2], whole[len(whole) // 2 :]]
    return len(whole) > 1
