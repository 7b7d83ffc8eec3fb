"""Which hidden states are kept, and how they are pooled over time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from sigssl.errors import UserError

Pool = Literal["none", "mean", "mean+std"]


@dataclass(frozen=True)
class Selection:
    """What is kept of an encoder's states.

    Attributes:
        layer: "all", "last", "weighted" (sum over layers), or a number: 0 is the input embedding.
        pool: over time: "none", "mean", or "mean+std" (the std divides by N).
        weights: of each layer for "weighted", as they are; None: the plain mean of all.
    """

    layer: str | int = "all"
    pool: Pool = "none"
    weights: tuple[float, ...] | None = None

    def check(self, num_layers: int) -> Selection:
        """The selection with `layer` as a number where it is one.

        Args:
            num_layers: of the encoder, which has one state more.

        Raises:
            UserError: a layer that the encoder lacks, an unknown way to pool, or weights that do not fit.
        """
        if self.pool not in get_args(Pool):
            raise UserError(f"pool {self.pool!r}: expected {', '.join(get_args(Pool))}.")
        if self.weights is not None and self.layer != "weighted":
            raise UserError(f"weights are given but the layer is {self.layer!r}; expected --layer weighted.")
        if self.weights is not None and len(self.weights) != num_layers + 1:
            raise UserError(
                f"{len(self.weights)} weights for {num_layers + 1} states (the input embedding and {num_layers} layers)."
            )
        if self.layer in ("all", "last", "weighted"):
            return self
        number = int(self.layer) if str(self.layer).isdigit() else -1
        if not 0 <= number <= num_layers:
            raise UserError(f"layer {self.layer!r}: expected all, last, weighted, or 0 (the input embedding) to {num_layers}.")
        return Selection(number, self.pool)

    def tracks(self, num_layers: int) -> int:
        """How many matrices are kept of an utterance."""
        return num_layers + 1 if self.layer == "all" else 1

    def pick(self, states: list[Float[Tensor, "*batch time dim"]]) -> list[Float[Tensor, "*batch time dim"]]:
        """The kept states of all."""
        if self.layer == "all":
            return states
        if self.layer == "last":
            return states[-1:]
        if isinstance(self.layer, int):
            return [states[self.layer]]
        weights = self.weights or (1 / len(states),) * len(states)
        total = states[0] * weights[0]
        for state, weight in zip(states[1:], weights[1:], strict=True):
            total = total.add_(state, alpha=weight)
        return [total]


def pooled(pieces: Iterable[list[Float[Tensor, "time dim"]]], pool: Pool) -> Iterator[list[Float[Tensor, "rows width"]]]:
    """Pool one utterance, which comes in pieces, over time in double precision (Chan et al. 1979 for the variance).

    Args:
        pieces: states [t, D] of each kept layer.
        pool: "mean" gives [1, D], "mean+std" [1, 2 D]; "none" passes the pieces on.
    """
    if pool == "none":
        yield from pieces
        return
    count = 0
    means: list[Tensor] = []
    squares: list[Tensor] = []
    for states in pieces:
        new = states[0].shape[0]
        if not new:
            continue
        x = [state.double() for state in states]
        mean = [state.mean(0) for state in x]
        square = [(state - centre).square().sum(0) for state, centre in zip(x, mean, strict=True)]
        if count:
            shift = [after - before for after, before in zip(mean, means, strict=True)]
            total = count + new
            square = [
                old + now + step.square() * (count * new / total) for old, now, step in zip(squares, square, shift, strict=True)
            ]
            mean = [old + step * (new / total) for old, step in zip(means, shift, strict=True)]
        count, means, squares = count + new, mean, square
    if count:
        stds = [(square / count).sqrt() for square in squares]
        parts = [torch.cat([m, s]) for m, s in zip(means, stds, strict=True)] if pool == "mean+std" else means
        yield [part.float()[None] for part in parts]


def read_weights(path: str | Path) -> tuple[float, ...]:
    """Layer weights from a file: a JSON list, or numbers with spaces or commas between.

    Raises:
        UserError: no such file, or no numbers in it.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        numbers = json.loads(text) if text.lstrip().startswith("[") else text.replace(",", " ").split()
        return tuple(float(number) for number in numbers)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}.") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: expected one number per layer, the input embedding first ({error}).") from None
