"""Zero-phase FIR filters on signals that come in blocks, and soxr beside them: bounded memory however long the signal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import scipy.fft
from jaxtyping import Float, Float32

from sigssl.errors import UserError

Block = Float32[np.ndarray, "channels samples"]
Made = Float32[np.ndarray, "channels made"]  # of another length


def design(sample_rate: float, highpass: float | None, lowpass: float | None) -> Float[np.ndarray, " taps"]:
    """Taps of a linear-phase low-, high- or band-pass of odd length (windowed sinc, Hamming).

    Transitions, by MNE's rules: a quarter of the edge, at least 2 Hz, below no lower than 0 Hz and above no higher than Nyquist's
    frequency; the middle of each is at -6 dB. Each edge is as long as 3.3 over its transition.

    Args:
        sample_rate: hertz.
        highpass: lower edge of the pass band in hertz, None for none.
        lowpass: upper edge.

    Raises:
        UserError: edges that are not 0 < highpass < lowpass < sample_rate / 2.
    """
    top = sample_rate / 2
    low, high = 0.0 if highpass is None else highpass, top if lowpass is None else lowpass
    if not low < high <= top or lowpass == top or (highpass is not None and highpass <= 0):
        raise UserError(
            f"filter from {highpass} to {lowpass} Hz at {sample_rate:g} samples per second: expected 0 < highpass < lowpass < "
            f"{top:g}."
        )
    widths = [] if not low else [min(max(0.25 * low, 2.0), low)]
    widths += [] if lowpass is None else [min(max(0.25 * high, 2.0), top - high)]
    if not widths:
        return np.ones(1)
    halves = [math.ceil(3.3 / width * sample_rate / 2) for width in widths]

    def passing(edge: float, half: int) -> np.ndarray:
        taps = np.sinc(2 * edge / sample_rate * np.arange(-half, half + 1)) * np.hamming(2 * half + 1)
        return np.pad(taps / taps.sum(), max(halves) - half)

    taps = passing(high + widths[-1] / 2, halves[-1]) if lowpass is not None else np.pad(np.ones(1), max(halves))
    return taps - passing(low - widths[0] / 2, halves[0]) if low else taps


def filtered(blocks: Iterable[Block], taps: Float[np.ndarray, " taps"]) -> Iterator[Block]:
    """Filter with zero phase; what comes out has the length of what went in.

    At both ends the signal goes on as its own mirror image (odd reflection, as far as it reaches, zeros beyond), as in MNE.

    Args:
        blocks: [C, n] of any lengths.
        taps: odd, symmetric.
    """
    half = len(taps) // 2
    convolve = _Convolution(taps)
    held: np.ndarray | None = None
    begun = False
    for block in blocks:
        held = block if held is None else np.concatenate([held, block], axis=1)
        if not begun:
            if held.shape[1] <= half:
                continue
            held, begun = np.concatenate([_mirrored(held, half)[:, ::-1], held], axis=1), True
        if held.shape[1] > 2 * half:
            yield convolve(held)
            held = held[:, held.shape[1] - 2 * half :]
    if held is None or not held.shape[1]:
        return
    if not begun:
        before, after = _mirrored(held, half)[:, ::-1], _mirrored(held[:, ::-1], half)
        yield convolve(np.concatenate([before, held, after], axis=1))
        return
    yield convolve(np.concatenate([held, _mirrored(held[:, ::-1], half)], axis=1))


def _mirrored(x: Block, count: int) -> Made:
    """`count` samples that go before `x`, the nearest first: 2 x[0] - x[1], 2 x[0] - x[2] ..."""
    made = np.zeros((len(x), count), np.float32)
    reach = min(count, x.shape[1] - 1)
    made[:, :reach] = 2 * x[:, :1] - x[:, 1 : 1 + reach]
    return made


class _Convolution:
    """Valid convolution by overlap-save in single precision, several pieces in one transform."""

    def __init__(self, taps: np.ndarray) -> None:
        self.taps = len(taps)
        self.size = scipy.fft.next_fast_len(max(8 * len(taps), 256), real=True)
        self.step = self.size - len(taps) + 1
        self.response = scipy.fft.rfft(taps.astype(np.float64), self.size).astype(np.complex64)

    def __call__(self, x: Block) -> Made:
        count = x.shape[1] - self.taps + 1
        if count <= 0:
            return np.zeros((len(x), 0), np.float32)
        pieces = -(-count // self.step)
        level = x.mean(axis=1, dtype=np.float64, keepdims=True).astype(np.float32)  # a large offset would cost precision
        padded = np.zeros((len(x), (pieces - 1) * self.step + self.size), np.float32)
        np.subtract(x, level, out=padded[:, : x.shape[1]])
        frames = np.lib.stride_tricks.sliding_window_view(padded, self.size, axis=1)[:, :: self.step]
        spectra = scipy.fft.rfft(frames, axis=-1)
        spectra *= self.response
        y = scipy.fft.irfft(spectra, self.size, axis=-1, overwrite_x=True)[..., self.taps - 1 :]
        made = y.reshape(len(x), -1)[:, :count]
        made += level * np.float32(self.response[0].real)
        return np.ascontiguousarray(made)
