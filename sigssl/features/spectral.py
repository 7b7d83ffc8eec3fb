"""Windows, power spectra and mel filters that all the features share, always in full float32."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sigssl.errors import UserError

WINDOWS = ("hann", "hamming", "povey", "blackman", "rectangular")
GROUP = 16  # filters multiplied at once on a processor: a multiple of what one vector register holds


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
    """`2595 log10(1 + f / 700)`; Kaldi's `1127 ln(1 + f / 700)` is a multiple of it, and the multiple cancels in a filterbank."""
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
        UserError: no filter, or corners out of order or above the Nyquist frequency.
    """
    nyquist = sample_rate / 2
    if n_mels < 1 or not 0 <= low < high <= nyquist:
        raise UserError(
            f"{n_mels} mel filters from {low:g} to {high:g} Hz at {sample_rate} Hz: expected at least one, "
            f"and 0 <= low < high <= {nyquist:g} (half the sample rate)."
        )
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


def require_filled(filters: Tensor, n_fft: int, sample_rate: int) -> Tensor:
    """The filters [bins, F], if each of them reaches a bin.

    Raises:
        UserError: one falls between two bins, so that its output would be a constant.
    """
    empty = (~filters.any(0)).nonzero().flatten().tolist()
    if empty:
        raise UserError(
            f"{len(empty)} of {filters.shape[1]} mel filters fall between the bins of a {n_fft}-point transform at {sample_rate} Hz"
            f" (the first is number {empty[0]}) and would be constant. Take fewer filters or a longer transform (n_fft)."
        )
    return filters


def power_spectrum(frames: Tensor, n_fft: int) -> Tensor:
    """`|rfft|^2` of frames [M, n <= n_fft]: [M, n_fft // 2 + 1]."""
    squares = torch.view_as_real(torch.fft.rfft(frames, n_fft)).square_()
    return squares[..., 0] + squares[..., 1]


class Filters:
    """Multiplication of power spectra by a filterbank, made ready for a device.

    Neighbouring triangles reach over few bins, so on a processor the product is taken in groups of them, each over its own bins:
    most of the zeros are never touched. An accelerator takes one product.

    Args:
        matrix: filters [bins, F].
        device: where the spectra will be.
    """

    def __init__(self, matrix: Tensor, device: torch.device) -> None:
        self.matrix = matrix
        self.width = matrix.shape[1]
        self.step = GROUP if device.type == "cpu" else self.width
        self.groups: list[tuple[int, int, Tensor]] = []
        for first in range(0, self.width, self.step):
            group = matrix[:, first : first + self.step]
            used = group.any(1).nonzero().flatten().tolist() or [0]
            low, high = used[0], used[-1] + 1
            self.groups.append((low, high, group[low:high].to(device, torch.float32).contiguous()))

    def __call__(self, power: Tensor) -> Tensor:
        """Energies [M, F] of spectra [M, bins]."""
        made = power.new_empty(len(power), self.width)
        for (low, high, group), target in zip(self.groups, made.split(self.step, 1), strict=True):
            torch.mm(power[:, low:high], group, out=target)
        return made


class Tables(NamedTuple):
    """What frames are multiplied by, float32 on one device."""

    taper: Tensor  # [window]
    filters: Filters | None = None
    cosines: Tensor | None = None  # [F, cepstra]


@contextlib.contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Products in true float32 within: neither autocast nor TF32 or bfloat16, even where the user allows them for the network."""
    backend = torch.backends.cuda if device.type == "cuda" else torch.backends.mkldnn
    settings = getattr(backend, "matmul", None)
    name = "fp32_precision" if hasattr(settings, "fp32_precision") else "allow_tf32"  # the latter before torch 2.9
    exact = {"fp32_precision": ("none", "ieee"), "allow_tf32": (False,)}[name]
    before = getattr(settings, name, exact[0])
    with torch.autocast(device.type, enabled=False):
        if before in exact:
            yield
            return
        setattr(settings, name, exact[-1])
        try:
            yield
        finally:
            setattr(settings, name, before)
