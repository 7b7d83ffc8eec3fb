"""Sequence heads of one kind that were trained apart, used as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sigssl.downstream.sequence_head import SequenceHead
from sigssl.errors import UserError


class HeadEnsemble(nn.Module):
    """Mean log-probabilities of several heads: a deep ensemble (Lakshminarayanan et al. 2017, who average probabilities).

    Args:
        heads: two or more, of the same kind, input width and classes.

    Raises:
        UserError: heads that differ in these.
    """

    def __init__(self, heads: Sequence[SequenceHead]) -> None:
        super().__init__()
        self.members = nn.ModuleList(heads)
        kinds = {(head.kind, head.input_dim, head.classes) for head in heads}
        if len(kinds) != 1:
            raise UserError(f"HeadEnsemble: expected heads of one kind, input width and number of classes; got {sorted(kinds)}.")
        self.kind, self.input_dim, self.classes = kinds.pop()

    @property
    def heads(self) -> list[SequenceHead]:
        """The constructor's argument, as a description of the module wants it."""
        return list(self.members)  # type: ignore[arg-type]

    @property
    def causal(self) -> bool:
        """Whether an epoch's output depends on itself and earlier epochs only."""
        return self.heads[0].causal

    def forward(
        self, x: Float[Tensor, "batch epochs features"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch epochs classes"]:
        """Mean log-probabilities of every epoch; arguments as for a head."""
        return torch.stack([head(x, lengths).log_softmax(-1) for head in self.heads]).mean(0)

    def stream(
        self, x: Float[Tensor, "batch epochs features"], states: list[Any] | None = None
    ) -> tuple[Float[Tensor, "batch epochs classes"], list[Any]]:
        """The next epochs as `forward` gives them for the whole, and the memory for the next call.

        Raises:
            UserError: the heads are not causal.
        """
        made = [head.stream(x, None if states is None else states[i]) for i, head in enumerate(self.heads)]
        return torch.stack([logits.log_softmax(-1) for logits, _ in made]).mean(0), [state for _, state in made]
