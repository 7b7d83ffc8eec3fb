"""What every method is: a module with an encoder, whose forward is a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from sigssl.types import Batch


class Method(nn.Module, ABC):
    """A self-supervised method: views + encoder + objective. It knows nothing of files, configurations or trainers.

    Attributes:
        encoder: what pretraining is for; it satisfies :class:`sigssl.types.Encoder`.
    """

    encoder: nn.Module

    @abstractmethod
    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The loss of one batch.

        Args:
            batch: signals or stored frames, on the device of the parameters.
            generator: source of every draw of the views; lives on the same device. (Dropout draws from torch's global one.)

        Returns:
            "loss": a mean, to be minimised; "weight": the count that this mean is over, so that means of several batches
            or ranks combine exactly; further named scalars, for the log.
        """
