"""What the parts hand to one another, and the legend of shapes.

Legend: B batch, C channels, S samples, T frames, F features, D model width, K classes, L epochs in a sequence.
Signals are float32 [B, C, S], frames float32 [B, T, F]; lengths are int64 [B], in samples or frames, and always passed:
what lies behind them is padding, may hold anything (NaN included) and never changes a valid output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Hidden(NamedTuple):
    """What an encoder returns: the input embedding first, then every layer's output."""

    states: list[Float[Tensor, "batch frames dim"]]
    lengths: Int[Tensor, " batch"]


@dataclass(frozen=True)
class Batch:
    """One batch of signals, or of frames read from a feature store.

    Attributes:
        x: signals [B, C, S], or frames [B, T, F] where `is_frames`.
        lengths: valid samples or frames of each item [B].
        ids: utterance ids, in order.
        is_frames: whether `x` holds stored features rather than a signal.
        sample_rate: of the signal in hertz (of the recordings behind the frames).
        recording: which recording each item is cut from, as a number; None where items are not cut from recordings.
        epoch: which epoch of its recording each item is; None likewise.
    """

    x: Float[Tensor, "batch a b"]
    lengths: Int[Tensor, " batch"]
    ids: tuple[str, ...]
    is_frames: bool
    sample_rate: int
    recording: Int[Tensor, " batch"] | None = None
    epoch: Int[Tensor, " batch"] | None = None

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on `device`."""
        return self._with(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, from which a device copies while the processor goes on."""
        return self._with(lambda tensor: tensor.pin_memory())

    def _with(self, change: Callable[[Tensor], Tensor]) -> Batch:
        recording = None if self.recording is None else change(self.recording)
        epoch = None if self.epoch is None else change(self.epoch)
        return replace(self, x=change(self.x), lengths=change(self.lengths), recording=recording, epoch=epoch)


@runtime_checkable
class Encoder(Protocol):
    """A signal encoder. `forward(x [B, C, S], lengths [B]) -> Hidden`; `num_layers + 1` states of width `dim`."""

    dim: int
    num_layers: int
    hop: int
    sample_rate: int

    def __call__(self, x: Float[Tensor, "batch channels samples"], lengths: Int[Tensor, " batch"]) -> Hidden:
        """Encode a padded batch; `Hidden.lengths` counts frames, one per `hop` samples at `sample_rate` hertz."""
        ...


@runtime_checkable
class EpochEncoder(Protocol):
    """An encoder of epochs of one length. `forward(x [B, C, S]) -> [B, D]`, S being `epoch_seconds` at `sample_rate`.

    `channels` is how many it takes. In eval mode a batch of one is fine, and items do not depend on one another.
    """

    dim: int
    sample_rate: int
    channels: int
    epoch_seconds: float

    def __call__(self, x: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch dim"]:
        """One vector per epoch."""
        ...


def frame_mask(lengths: Int[Tensor, " batch"], frames: int) -> Tensor:
    """Boolean mask [B, frames], true on valid frames."""
    return torch.arange(frames, device=lengths.device)[None, :] < lengths[:, None]
