"""Log-mel and log-linear spectra, by default as s3prl's TERA takes them."""

from __future__ import annotations

import torch
from torch import Tensor

from sigssl.errors import UserError
from sigssl.features.base import CMVN, Extractor
from sigssl.features.cpp import Recipe
from sigssl.features.deltas import Deltas
from sigssl.features.framing import Framing
from sigssl.features.spectral import Filters, Tables, mel_filters, power_spectrum, require_filled, window


class LogMel(Extractor):
    """`ln(mel power + floor)` of a centred short-time Fourier transform; the defaults are those of s3prl's TERA.

    Loudness to -25 dB, 25 ms periodic Hann every 10 ms, reflection at each item's own ends (s3prl reflects the padded batch, so
    that its last two frames depend on the batch), HTK mel triangles, natural log, CMVN per utterance. `1 + N // hop` frames.

    Args:
        n_mels: mel filters, or None for the linear spectrum (Mockingjay-Large's target: 201 bins).
        sample_rate: hertz; window, hop and the highest frequency scale with it.
        window_ms: length of the window.
        hop_ms: from frame to frame.
        n_fft: length of the transform; None: that of the window, doubled until no filter falls between two bins (80 filters at
            8 kHz need 400).
        low_hz: lowest corner of the filters.
        high_hz: highest; None: half the sample rate.
        floor: added to the power before the logarithm.
        loudness: root mean square in dB that each utterance is scaled to, or None.
        deltas: derivatives to append, before the CMVN.
        cmvn: "utterance" (mean and variance), "mean", a :class:`sigssl.features.GlobalCMVN` (fixed, of a corpus), or None.
    """

    def __init__(
        self,
        n_mels: int | None = 80,
        sample_rate: int = 16000,
        window_ms: float = 25.0,
        hop_ms: float = 10.0,
        n_fft: int | None = None,
        low_hz: float = 0.0,
        high_hz: float | None = None,
        floor: float = 1e-10,
        loudness: float | None = -25.0,
        deltas: Deltas | None = None,
        cmvn: CMVN = "utterance",
    ) -> None:
        length, hop = round(sample_rate * window_ms / 1000), round(sample_rate * hop_ms / 1000)
        if n_fft is not None and n_fft < length:
            raise UserError(f"LogMel: n_fft is {n_fft}; expected at least the window's {length} samples.")
        self._size, filters = transform(n_mels, n_fft, length, sample_rate, low_hz, high_hz)
        left = self._size // 2 - (self._size - length) // 2  # where torch.stft puts a window shorter than its transform
        right = length - left - self._size % 2
        framing = Framing(length, hop, left, right)
        super().__init__(sample_rate, framing, n_mels or self._size // 2 + 1, loudness=loudness, deltas=deltas, cmvn=cmvn)
        self.n_mels = n_mels
        self.window_ms = window_ms
        self.hop_ms = hop_ms
        self.n_fft = n_fft
        self.low_hz = low_hz
        self.high_hz = high_hz
        self.floor = floor
        self._filters = filters

    def tables(self, device: torch.device) -> Tables:
        """Window and filters."""
        taper = window("hann", self.framing.window, periodic=True).to(device, torch.float32)
        return Tables(taper, None if self._filters is None else Filters(self._filters, device))

    def recipe(self) -> Recipe:
        """What `spectrum` does."""
        return Recipe(self._size, self.floor, add_floor=True)

    def spectrum(self, frames: Tensor, tables: Tables) -> Tensor:
        """`ln(power + floor)`."""
        power = power_spectrum(frames * tables.taper, self._size)
        energies = tables.filters(power) if tables.filters else power
        return energies.add_(self.floor).log_()


def transform(
    n_mels: int | None, n_fft: int | None, length: int, sample_rate: int, low_hz: float, high_hz: float | None
) -> tuple[int, Tensor | None]:
    """Length of the transform and mel filters [bins, n_mels], with slopes linear in hertz as in torchaudio and librosa (HTK).

    Without `n_fft` the length is that of the window, doubled up to three times until no filter falls between two bins.
    """
    if n_mels is None:
        return n_fft or length, None
    high = sample_rate / 2 if high_hz is None else high_hz
    for size in [n_fft] if n_fft else [length, 2 * length, 4 * length, 8 * length]:
        filters = mel_filters(n_mels, size, sample_rate, low_hz, high, linear_in="hertz")
        if filters.any(0).all():
            break
    return size, require_filled(filters, size, sample_rate)
