"""Fronts of a stager: the signal of a night -> features of its epochs, whole or epoch by epoch."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sigssl.data.scaling import RobustScaler
from sigssl.downstream.centring import centred
from sigssl.downstream.sleep_settings import Center
from sigssl.errors import UserError
from sigssl.features.bandpower import BandPower

BATCH = 64  # epochs that an encoder takes at a time


class Front(Protocol):
    """What a stager needs of its front, a module; all fronts have these."""

    channels: list[str]

    @property
    def dim(self) -> int:
        """F, width of an epoch's features."""
        ...

    @property
    def sample_rate(self) -> int:
        """Hertz, of the signal."""
        ...

    @property
    def epoch_seconds(self) -> float:
        """Length of an epoch."""
        ...

    def __call__(self, signal: Float[Tensor, "channels samples"]) -> Float[Tensor, "epochs features"]:
        """Features of a night's whole epochs."""
        ...

    def step(self, epoch: Float[Tensor, "channels samples"], state: Any = None) -> tuple[Float[Tensor, " features"], Any]:
        """Features of the next epoch of a night, and the memory for the one after it."""
        ...


class BandPowerFront(nn.Module):
    """The 30 band powers of Fpz-Cz, Pz-Oz and EOG.

    Args:
        features: how they are computed.
        channels: names of the signal's channels, in order.
    """

    def __init__(self, features: BandPower, channels: list[str]) -> None:
        super().__init__()
        if len(channels) != len(features.lowpass):
            raise UserError(f"BandPowerFront: {len(channels)} channels named, but {len(features.lowpass)} have a low-pass.")
        self.features, self.channels = features, list(channels)

    @property
    def dim(self) -> int:
        """F, width of an epoch's features."""
        return self.features.dim

    @property
    def sample_rate(self) -> int:
        """Hertz, of the signal."""
        return self.features.sample_rate

    @property
    def epoch_seconds(self) -> float:
        """Length of an epoch."""
        return self.features.epoch_seconds

    def forward(self, signal: Float[Tensor, "channels samples"]) -> Float[Tensor, "epochs features"]:
        """Features of a night's whole epochs; `signal` in microvolts."""
        return self.features(signal)

    def step(self, epoch: Float[Tensor, "channels samples"], state: Any = None) -> tuple[Float[Tensor, " features"], Any]:
        """Features of the next epoch; the same as `forward` gives where the scale is "running" (or "none")."""
        return self.features.step(epoch, state)


class EncoderFront(nn.Module):
    """Embeddings of single epochs by an epoch encoder such as NeuroNet's.

    Args:
        encoder: scaled epochs [B, C, S] -> [B, D], with `dim`, `sample_rate`, `channels` (how many) and `epoch_seconds`; its
            `scaler`, if it has one, brings a whole recording [C, N] of any unit to what it was trained on.
        channels: names of the signal's channels, in order.
        center: what is subtracted from the embeddings: their mean over the "night" or the "past", or "none".
    """

    def __init__(self, encoder: nn.Module, channels: list[str], center: Center = "none") -> None:
        super().__init__()
        if len(channels) != encoder.channels:
            raise UserError(
                f"EncoderFront: {len(channels)} channels named ({', '.join(channels)}), the encoder has {encoder.channels}."
            )
        self.encoder, self.channels = encoder, list(channels)
        self.center: Center = center
        self.epoch = round(float(encoder.epoch_seconds) * int(encoder.sample_rate))  # type: ignore[arg-type]

    @property
    def dim(self) -> int:
        """D, width of an embedding."""
        return int(self.encoder.dim)  # type: ignore[arg-type]

    @property
    def sample_rate(self) -> int:
        """Hertz, of the signal."""
        return int(self.encoder.sample_rate)  # type: ignore[arg-type]

    @property
    def epoch_seconds(self) -> float:
        """Length of an epoch."""
        return float(self.encoder.epoch_seconds)  # type: ignore[arg-type]

    def scale(self, signal: Float[Tensor, "channels samples"]) -> Float[Tensor, "channels samples"]:
        """The signal as the encoder wants it, by statistics of the recording given."""
        scaler: RobustScaler | None = getattr(self.encoder, "scaler", None)
        return signal if scaler is None else scaler(signal)

    def forward(self, signal: Float[Tensor, "channels samples"]) -> Float[Tensor, "epochs features"]:
        """Embeddings of a night's whole epochs; `signal` in microvolts.

        Raises:
            UserError: less than one epoch.
        """
        epochs = signal.shape[1] // self.epoch
        if not epochs:
            raise UserError(f"EncoderFront: {signal.shape[1]} samples are less than one epoch of {self.epoch}.")
        cut = self.scale(signal)[:, : epochs * self.epoch].unflatten(1, (epochs, self.epoch)).transpose(0, 1)
        return centred(torch.cat([self.encoder(block.contiguous()) for block in cut.split(BATCH)]), self.center)

    def step(self, epoch: Float[Tensor, "channels samples"], state: Any = None) -> tuple[Float[Tensor, " features"], Any]:
        """The embedding of the next epoch, scaled and centred by means over the epochs so far.

        `forward` scales by statistics of the whole night, and may center by its mean, which a running night does not have yet:
        the two come close to one another as the night goes on, and are the same where the encoder has no scaler and the
        center is "none" or "past".
        """
        scaler: RobustScaler | None = getattr(self.encoder, "scaler", None)
        seen, statistics, total = (0, 0.0, 0.0) if state is None else state
        seen += 1
        if scaler is not None:
            statistics = statistics + scaler.statistics(epoch)
            epoch = scaler.scale(epoch, statistics / seen)
        embedding = self.encoder(epoch[None])[0]
        if self.center == "none":
            return embedding, (seen, statistics, total)
        total = total + embedding.double()
        return embedding - (total / seen).to(embedding.dtype), (seen, statistics, total)
