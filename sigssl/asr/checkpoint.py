"""Checkpoints of a recogniser in training: written whole, read without pickled objects."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sigssl.asr.recogniser import Recogniser
from sigssl.data.io import whole
from sigssl.errors import UserError


class Trained:
    """The part of a recogniser that training changes: the head, and the encoder where it is tuned."""

    def __init__(self, recogniser: Recogniser, whole_encoder: bool) -> None:
        self.module: nn.Module = recogniser if whole_encoder else recogniser.head

    def state(self) -> dict[str, Tensor]:
        """Copies of its weights, on the processor."""
        return {name: value.detach().cpu().clone() for name, value in self.module.state_dict().items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Put such weights in."""
        self.module.load_state_dict(state)


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values, whole, and bring them to the disk."""
    with whole(path) as temporary, temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read tensors and plain values.

    Raises:
        UserError: the file is damaged, or holds pickled objects, which are refused.
    """
    try:
        loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged archive
        raise UserError(
            f"{path}: cannot be read as a checkpoint of tensors and plain values; pickled objects are refused, since they may run "
            f"code ({str(error).splitlines()[0]}). Give --overwrite true to begin anew."
        ) from error
    return loaded
