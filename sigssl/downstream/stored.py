"""Probes on stored signals of any channels: log power, waveform, and encoders of epochs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from sigssl.data.ark import read_scp
from sigssl.data.datadir import Utterance
from sigssl.data.matrix import read_matrix
from sigssl.data.store import StoreInfo
from sigssl.errors import UserError

BANDS = ((1.0, 4.0), (4.0, 8.0), (8.0, 13.0), (13.0, 20.0), (20.0, 30.0), (30.0, 45.0))
BIN = 0.04  # seconds that the waveform is averaged over
LOGPOWER, WAVEFORM = "logpower", "waveform"
WHAT = {
    LOGPOWER: "log power of each channel in delta, theta, alpha, low and high beta, gamma",
    WAVEFORM: f"each channel's signal, its mean taken off, averaged over {1000 * BIN:g} ms",
}

Rows = Callable[[Float32[np.ndarray, "samples channels"], int], np.ndarray]


class Store:
    """Signals of utterances, as `sigssl features` with a `signal` section stores them.

    Args:
        folder: with feats.scp and feats.json.

    Raises:
        UserError: it holds no signals.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.info = folder, StoreInfo.read(folder)
        if self.info.kind != "signal":
            raise UserError(f"{folder}: holds {self.info.kind}, not signals; store them with recipes/conf/features/eeg.yaml.")
        self.places = read_scp(folder / "feats.scp")

    def rows(self, utterances: Sequence[Utterance], make: Rows) -> Float32[np.ndarray, "items 1 features"]:
        """What `make` makes of each utterance's signal [samples, channels] and sample rate.

        Raises:
            UserError: an utterance that is not stored, or one whose length gives it another number of values.
        """
        lacking = [utterance.id for utterance in utterances if utterance.id not in self.places]
        if lacking:
            raise UserError(f"{self.folder}: lacks {len(lacking)} of {len(utterances)} utterances, the first {lacking[0]!r}.")
        made = [make(read_matrix(self.places[utterance.id]), int(self.info.sample_rate)) for utterance in utterances]
        odd = next((n for n, row in enumerate(made) if row.shape != made[0].shape), None)
        if odd is not None:
            raise UserError(
                f"{self.folder}: {utterances[odd].id!r} gives {made[odd].size} values, {utterances[0].id!r} {made[0].size}; "
                f"windows must be of one length."
            )
        return np.stack(made)[:, None].astype(np.float32)


def log_power(signal: Float32[np.ndarray, "samples channels"], rate: int) -> np.ndarray:
    """Natural logarithm of the power of each channel in each band that the rate holds (Hann window over the whole signal)."""
    window = np.hanning(len(signal) + 2)[1:-1, None]
    power = np.abs(np.fft.rfft((signal - signal.mean(0)) * window, axis=0)) ** 2 / (np.sum(window**2) * rate)
    f = np.fft.rfftfreq(len(signal), 1 / rate)
    held = [(low, high) for low, high in BANDS if high < rate / 2]
    bands = [power[(f >= low) & (f < high)].mean(0) if ((f >= low) & (f < high)).any() else power[1] for low, high in held]
    return np.log(np.concatenate(bands) + 1e-6)


def waveform(signal: Float32[np.ndarray, "samples channels"], rate: int) -> np.ndarray:
    """The signal itself, channel by channel: each channel's mean taken off, averaged over bins of 40 ms."""
    size = max(round(BIN * rate), 1)
    whole = (signal - signal.mean(0))[: len(signal) // size * size]
    return whole.reshape(-1, size, signal.shape[1]).mean(1).T.reshape(-1)


def encoded(encoder: Any) -> Rows:
    """What an encoder of epochs makes of a signal: the mean of its epochs' vectors; scaled by the encoder's own scaler.

    Args:
        encoder: :class:`sigssl.types.EpochEncoder`; a signal shorter than an epoch is filled up with its last sample.
    """

    def rows(signal: Float32[np.ndarray, "samples channels"], rate: int) -> np.ndarray:
        if (rate, signal.shape[1]) != (encoder.sample_rate, encoder.channels):
            raise UserError(
                f"the store holds {signal.shape[1]} channels at {rate} Hz, the encoder takes {encoder.channels} at "
                f"{encoder.sample_rate} Hz. Store the signals as the encoder was pretrained."
            )
        size = round(encoder.epoch_seconds * rate)
        filled = np.pad(signal, ((0, max(size - len(signal), 0)), (0, 0)), mode="edge")
        x = torch.from_numpy(np.ascontiguousarray(filled.T))
        scaler = getattr(encoder, "scaler", None)
        x = x if scaler is None else scaler.apply(x, scaler.statistics(x))
        epochs = x[:, : x.shape[1] // size * size].unflatten(1, (-1, size)).transpose(0, 1)
        with torch.no_grad():
            return np.asarray(encoder(epochs).mean(0).numpy())

    return rows


SURFACE: dict[str, Rows] = {LOGPOWER: log_power, WAVEFORM: waveform}
