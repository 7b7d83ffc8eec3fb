"""Windows, filterbanks and the power spectrum that all the features share."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sigssl.errors import UserError

WINDOWS = ("hann", "hamming", "povey", "blackman", "rectangular")


def window(kind: str, length: int, *, periodic: bool = False) -> Tensor:
    """A window of `length` samples, float64; "povey" is Kaldi's `hann ** 0.85`."""
    if kind not in WINDOWS:
        raise UserError(f"window {kind!r}: expected one of {', '.join(WINDOWS)}.")
    phase = 2 * math.pi * torch.arange(length, dtype=torch.float64) / max(length if periodic else length - 1, 1)
    if kind == "rectangular":
        return torch.ones(length, dtype=torch.float64)
    if kind == "hamming":
        return 0.54 - 0.46 * phase.cos()
    if kind == "blackman":
        return 0.42 - 0.5 * phase.cos() + 0.08 * (2 * phase).cos()
    hann = 0.5 - 0.5 * phase.cos()
    return hann.clamp(min=0).pow(0.85) if kind == "povey" else hann


def hertz_to_mel(hertz: Tensor) -> Tensor:
    """`2595 log10(1 + f / 700)`, which is Kaldi's `1127 ln(1 + f / 700)` to 4 digits; the constant cancels in a filterbank."""
    return 2595 * torch.log10(1 + hertz / 700)


def mel_to_hertz(mel: Tensor) -> Tensor:
    """Inverse of :func:`hertz_to_mel`."""
    return 700 * (10 ** (mel / 2595) - 1)


def mel_filters(n_mels: int, n_fft: int, sample_rate: int, low: float, high: float, *, linear_in: str) -> Tensor:
    """Triangular filters without area normalisation: [n_fft // 2 + 1, n_mels], float64.

    Args:
        n_mels: how many, their corners equally spaced in mel from `low` to `high` hertz.
        n_fft: length of the transform.
        sample_rate: in hertz.
        low: lowest corner in hertz.
        high: highest.
        linear_in: "hertz", as torchaudio and librosa draw the slopes, or "mel", as Kaldi does.

    Raises:
        UserError: corners out of order or above the Nyquist frequency.
    """
    nyquist = sample_rate / 2
    if not 0 <= low < high <= nyquist:
        raise UserError(f"mel filters from {low:g} to {high:g} Hz: expected 0 <= low < high <= {nyquist:g} (half the sample rate).")
    ends = hertz_to_mel(torch.tensor([low, high], dtype=torch.float64))
    corners = torch.linspace(float(ends[0]), float(ends[1]), n_mels + 2, dtype=torch.float64)
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * (sample_rate / n_fft)
    if linear_in == "hertz":
        corners = mel_to_hertz(corners)
    else:
        bins = hertz_to_mel(bins)
    rise = (bins[:, None] - corners[:-2]) / (corners[1:-1] - corners[:-2])
    fall = (corners[2:] - bins[:, None]) / (corners[2:] - corners[1:-1])
    return torch.minimum(rise, fall).clamp(min=0)


def squared_parts(frames: Tensor, n_fft: int) -> Tensor:
    """Squares of the real and imaginary parts of the spectrum, interleaved: [M, 2 * (n_fft // 2 + 1)]."""
    return torch.view_as_real(torch.fft.rfft(frames, n_fft)).flatten(1).square_()


def interleaved(filters: Tensor) -> Tensor:
    """Filters [bins, F] as they multiply :func:`squared_parts`: the sum of the two squares happens in the product."""
    return filters.repeat_interleave(2, 0)
