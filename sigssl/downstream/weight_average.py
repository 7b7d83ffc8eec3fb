"""An exponential moving average of a model's weights, tested in place of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Average:
    """Exponential moving average of weights, in place of them while `of` is entered; buffers are those of the model."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.weights = [p.detach().clone() for p in model.parameters()] if decay else []

    def update(self, model: nn.Module) -> None:
        """Take a step's weights in; the first steps count more."""
        self.steps += 1
        if self.decay:
            share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
            torch._foreach_lerp_(self.weights, [p.detach() for p in model.parameters()], share)

    def of(self, model: nn.Module) -> Swapped:
        """The model with the averaged weights, within a `with` block."""
        return Swapped(model, self.weights)


class Swapped:
    """Weights exchanged on entering and on leaving."""

    def __init__(self, model: nn.Module, weights: list[Tensor]) -> None:
        self.model, self.weights = model, weights

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *_: object) -> None:
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for parameter, weight in zip(self.model.parameters(), self.weights, strict=False):
            kept = parameter.detach().clone()
            parameter.copy_(weight)
            weight.copy_(kept)
