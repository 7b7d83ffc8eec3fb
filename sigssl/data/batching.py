"""Batches of similar lengths by total seconds, in an order that follows from (seed, epoch) alone.

So nothing of the order is ever stored: a run resumes at (epoch, step) by computing that epoch's plan again.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
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

    def _make_buckets(self) -> list[np.ndarray]:
        """Items of each bucket, by rising duration."""
        order = np.argsort(self.durations, kind="stable")
        rising = self.durations[order]
        buckets, begin = [], 0
        while begin < len(order):
            end = int(np.searchsorted(rising, rising[begin] / (1.0 - self.padding), side="right"))
            buckets.append(order[begin:end])
            begin = end
        return buckets

    def _plan(self, rng: np.random.Generator) -> np.ndarray:
        batches: list[np.ndarray] = []
        for bucket in self._buckets:
            fit = max(1, min(self.max_items, int(self.batch_seconds / self.durations[bucket[-1]] + 1e-9)))
            made = np.array_split(rng.permutation(bucket), math.ceil(len(bucket) / fit))
            batches.extend(made[i] for i in rng.permutation(len(made)))
        while len(batches) % self.world:
            largest = max(range(len(batches)), key=lambda i: len(batches[i]))
            whole = batches[largest]
            if len(whole) == 1:  # nothing left to halve: other items sit out each epoch
                del batches[rng.integers(len(batches))]
            else:
                batches[largest : largest + 1] = [whole[: len(whole) // 2], whole[len(whole) // 2 :]]
        plan = np.empty((len(batches) // self.world, self.world), dtype=object)
        for i, batch in enumerate(batches):
            plan[i // self.world, i % self.world] = batch
        return plan[rng.permutation(len(plan))]
