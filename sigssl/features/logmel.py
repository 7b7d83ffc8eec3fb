"""Log-mel and log-linear spectra, by default as s3prl's TERA takes them."""

from __future__ import annotations

import torch
from torch import Tensor

from sigssl.features.base import Extractor
from sigssl.features.cmvn import CMVN
from sigssl.features.deltas import Deltas
from sigssl.features.framing import Framing
from sigssl.features.spectral import interleaved, mel_filters, squared_parts, window


class LogMel(Extractor):
    """`ln(mel power + floor)` of a centred short-time Fourier transform; the defaults are those of s3prl's TERA.

    Loudness to -25 dB, 25 ms periodic Hann every 10 ms, reflection at each item's own ends (s3prl reflects the padded batch, so
    that its last two frames depend on the batch), HTK mel triangles, natural log, CMVN per utterance. `1 + N // hop` frames.

    Args:
        n_mels: mel filters, or None for the linear spectrum (Mockingjay-Large's target: 201 bins).
        sample_rate: hertz; window, hop and the highest frequency scale with it.
        window_ms: length of the window.
        hop_ms: from frame to frame.
        n_fft: length of the transform; None: that of the window.
        low_hz: lowest corner of the filters.
        high_hz: highest; None: half the sample rate.
        floor: added to the power before the logarithm.
        loudness: root mean square in dB that each utterance is scaled to, or None.
        deltas: derivatives to append, before the CMVN.
        cmvn: "utterance" (mean and variance), "mean" or None.
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
        length = round(sample_rate * window_ms / 1000)
        size = n_fft or length
        framing = Framing(size, round(sample_rate * hop_ms / 1000), size // 2, size // 2)
        super().__init__(sample_rate, framing, n_mels or size // 2 + 1, loudness=loudness, deltas=deltas, cmvn=cmvn)
        self.n_mels = n_mels
        self.window_ms = window_ms
        self.hop_ms = hop_ms
        self.n_fft = n_fft
        self.low_hz = low_hz
        self.high_hz = high_hz
        self.floor = floor
        self._size = size
        self._length = length

    def constants(self) -> tuple[Tensor, ...]:
        """Window [n_fft] and filters."""
        taper = window("hann", self._length, periodic=True)
        left = (self._size - self._length) // 2
        taper = torch.nn.functional.pad(taper, (left, self._size - self._length - left))
        if self.n_mels is None:
            return taper, torch.empty(0)
        high = self.sample_rate / 2 if self.high_hz is None else self.high_hz
        filters = mel_filters(self.n_mels, self._size, self.sample_rate, self.low_hz, high, linear_in="hertz")
        return taper, interleaved(filters)

    def spectrum(self, frames: Tensor, power_gain: Tensor | None, constants: tuple[Tensor, ...]) -> Tensor:
        """`ln(gain * power + floor)`."""
        taper, filters = constants
        squares = squared_parts(frames * taper, self._size)
        power = squares @ filters if self.n_mels else squares.unflatten(1, (-1, 2)).sum(2)
        if power_gain is not None:
            power.mul_(power_gain)
        return power.add_(self.floor).log_()
