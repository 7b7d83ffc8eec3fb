"""Running sums of what a run measures, kept on the device and read once per log line, so that no step waits to be looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sigssl.data.batching import Planned
from sigssl.data.dataset import Loaded

Reduce = Callable[[Tensor], Tensor]


class Skipped(NamedTuple):
    """An update that was skipped: its number, and the batches of this rank whose loss was not finite (all, where none was)."""

    update: int
    batches: list[Planned]


class Tally:
    """Sums since the last log line: weighted means of the method's scalars, gradient norms, skipped updates, seconds of signal."""

    def __init__(self) -> None:
        self._window: list[tuple[Planned, Tensor, Tensor]] = []  # micro-batches of the update under way: batch, loss, weight
        self._updates: list[tuple[int, Tensor, Tensor, list[Planned], Tensor]] = []
        self._clear()

    def _clear(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weight: Tensor | None = None
        self.seconds = 0.0
        self._updates.clear()

    def add(self, made: dict[str, Tensor], weight: Tensor, loaded: Loaded) -> None:
        """Count one micro-batch: what the method gave, its weight, and the batch."""
        finite = torch.isfinite(made["loss"].detach())
        weight = torch.where(finite, weight, 0.0)  # a mean with NaN in it says nothing
        for name, value in made.items():
            if name != "weight":
                # kept in float32: float64 would be slow on accelerators, and a window has a few hundred terms
                term = torch.where(finite, value.detach().float(), 0.0) * weight
                self._sums[name] = self._sums[name] + term if name in self._sums else term
        self._weight = weight if self._weight is None else self._weight + weight
        self._window.append((loaded.planned, made["loss"].detach(), made["weight"].detach().float()))
        self.seconds += loaded.seconds

    def window_weight(self, device: torch.device) -> Tensor:
        """Sum of weights of the update under way, a scalar that may be written to."""
        return torch.stack([weight for _, _, weight in self._window]).sum().to(device)

    def close_update(self, update: int, norm: Tensor, bad: Tensor) -> None:
        """End the update under way: its number, gradient norm, and whether it is skipped."""
        losses = torch.stack([loss for _, loss, _ in self._window])
        self._updates.append((update, norm, bad, [planned for planned, _, _ in self._window], losses))
        self._window.clear()

    def means(self, reduced: Reduce, device: torch.device) -> dict[str, float]:
        """Weighted means over all ranks, and a fresh start.

        Args:
            reduced: sums a tensor over ranks.
            device: where the sums lie.
        """
        names = sorted(self._sums)
        weight = self._weight if self._weight is not None else torch.zeros((), device=device)
        sums = reduced(torch.stack([weight, *(self._sums[name] for name in names)])).tolist()
        self._window.clear()
        self._clear()
        return {name: total / sums[0] if sums[0] else float("nan") for name, total in zip(names, sums[1:], strict=True)}

    def updates(self) -> tuple[float, list[Skipped]]:
        """Mean gradient norm of the finite updates since the last :meth:`means`, and the skipped ones."""
        if not self._updates:
            return float("nan"), []
        norms = torch.stack([norm for _, norm, *_ in self._updates]).tolist()
        bad = torch.stack([bad for _, _, bad, *_ in self._updates]).tolist()
        skipped = []
        for (update, _, _, batches, losses), is_bad in zip(self._updates, bad, strict=True):
            if is_bad:
                finite = torch.isfinite(losses).tolist()
                culprits = [planned for planned, fine in zip(batches, finite, strict=True) if not fine]
                skipped.append(Skipped(update, culprits or batches))
        good = [norm for norm, is_bad in zip(norms, bad, strict=True) if not is_bad]
        return (sum(good) / len(good) if good else float("nan")), skipped
