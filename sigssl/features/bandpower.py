"""Band powers of 30-s epochs of sleep: filter, z-score of the recording, Welch, five bands, log absolute and relative.

The settings are those with which `sleepedf_bandpower_sc153` was made (its encoding.json): Fpz-Cz, Pz-Oz and horizontal EOG
at 100 Hz.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sigssl.errors import UserError

BANDS = (("delta", 0.5, 4.0), ("theta", 4.0, 8.0), ("alpha", 8.0, 12.0), ("sigma", 12.0, 16.0), ("beta", 16.0, 30.0))
TINY = 1e-10  # added to a power before its logarithm
FLAT = 1e-2  # microvolts: a standard deviation is never taken to be smaller
WINDOW = 4.0  # seconds of a Welch window, half of which is the hop
TAPS = 3.3  # length of a Hamming-windowed sinc in units of 1 / transition width (as MNE reckons)
EPOCHS_AT_ONCE = 48  # keeps the windows of a block of epochs in the cache
BLOCKS = 16  # of some 40 s that are filtered at a time

Scale = Literal["zscore", "median", "running", "none"]


class StreamState(NamedTuple):
    """Between two epochs of a night: the filter's past samples [C, half], the sum of what is averaged [C], and of how many."""

    history: Tensor
    total: Tensor
    epochs: int


class BandPower(nn.Module):
    """Signals of a night [C, N] in microvolts -> features [E, C * 10].

    Features of a channel: log power of delta, theta, alpha, sigma, beta, then the same as shares of their sum. A power is the
    trapezoidal integral of Welch's density (Hamming, 4 s, half overlap, constant detrend, median) over the closed band.

    Args:
        sample_rate: hertz, of the signals.
        epoch_seconds: length of an epoch.
        highpass: hertz, of every channel; linear-phase FIR without delay, its transition ends there.
        lowpass: hertz, one for each channel: where the transition band begins. The data set has 30, 30 and 15 (EOG).
        scale: what a channel's power is measured in. "zscore": the variance of the filtered channel over the recording given, as
            in the data set; "median": the median over its epochs of the power in all bands, which artefacts move less; "running":
            the mean of the power in all bands up to and including the epoch, which needs no future; "none": square microvolts.
        night: append all features once more, standardised over the night (:func:`over_the_night`): [E, C * 20].
    """

    window: Tensor
    taps: Tensor
    integral: Tensor

    def __init__(
        self,
        sample_rate: int = 100,
        epoch_seconds: float = 30.0,
        highpass: float = 0.5,
        lowpass: tuple[float, ...] | list[float] = (30.0, 30.0, 15.0),
        scale: Scale = "zscore",
        night: bool = False,
    ) -> None:
        super().__init__()
        if sample_rate < 2 * BANDS[-1][2]:
            raise UserError(f"BandPower: {sample_rate} Hz cannot hold bands up to {BANDS[-1][2]:g} Hz; use at least 60 Hz.")
        if night and scale == "running":
            raise UserError("BandPower: night=true needs the whole night, scale='running' looks at the past only: choose one.")
        if epoch_seconds < WINDOW:
            raise UserError(f"BandPower: epochs of {epoch_seconds:g} s are shorter than a window of {WINDOW:g} s.")
        self.sample_rate, self.epoch_seconds, self.highpass = sample_rate, epoch_seconds, highpass
        self.lowpass = list(lowpass)
        self.scale: Scale = scale
        self.night = night
        self.epoch = round(epoch_seconds * sample_rate)
        self.size = round(WINDOW * sample_rate)
        self.dim = 2 * len(BANDS) * len(self.lowpass) * (2 if night else 1)
        self.register_buffer("window", torch.hamming_window(self.size, periodic=True, dtype=torch.float32), persistent=False)
        kernels = [bandpass_taps(sample_rate, highpass, low) for low in self.lowpass]
        self.register_buffer("taps", torch.from_numpy(np.stack(kernels)).float(), persistent=False)
        integral = _integral(self.size, sample_rate)
        self.low = int(integral.any(1).nonzero()[0])  # the first frequency that any band uses
        self.register_buffer("integral", integral[self.low : int(integral.any(1).nonzero()[-1]) + 1], persistent=False)

    def forward(self, signal: Float[Tensor, "channels samples"]) -> Float[Tensor, "epochs features"]:
        """Features of a recording's whole epochs; a rest shorter than an epoch is left out.

        Args:
            signal: continuous, in microvolts.

        Raises:
            UserError: another number of channels, or less than one epoch.
        """
        self.check(signal)
        if self.scale == "running":
            return self.features(self.powers(self.filter_epochs(signal)[0]))
        filtered = self.filter(signal)
        powers = self.powers(self.cut(filtered))
        return self.features(powers, filtered)

    def step(
        self, epoch: Float[Tensor, "channels samples"], state: StreamState | None = None
    ) -> tuple[Float[Tensor, " features"], StreamState]:
        """Features of the next epoch of a night, from it and what came before.

        With scale "running" and "none" the features are those of :meth:`forward` (but for its filter's view of the next 3 s under
        "none"); with "zscore" the variance is that of the night so far, which takes some minutes to settle.

        Args:
            epoch: one epoch of signal.
            state: what the call before returned; None for the first epoch.

        Raises:
            UserError: not one epoch, or scale "median", which needs the whole night.
        """
        self.check(epoch)
        if self.scale == "median" or self.night or epoch.shape[1] != self.epoch:
            raise UserError(
                f"BandPower: cannot stream {epoch.shape[1]} samples with scale={self.scale!r}, night={self.night}; "
                f"push epochs of {self.epoch} samples, with scale 'running', 'zscore' or 'none'."
            )
        before = None if state is None else state.history
        filtered, history = self.filter_epochs(epoch, before)
        powers = self.powers(filtered)
        amount = powers[0].sum(-1) if self.scale == "running" else filtered[0].square().mean(-1)
        count = 1 if state is None else state.epochs + 1
        total = amount.double() if state is None else state.total + amount.double()
        unit = (total / count).to(powers.dtype)[None].clamp(min=FLAT**2)
        unit = torch.ones_like(unit) if self.scale == "none" else unit
        return self.assemble(powers, unit)[0], StreamState(history, total, count)

    def check(self, signal: Float[Tensor, "channels samples"]) -> None:
        """Refuse a signal with another number of channels (UserError)."""
        if signal.shape[0] != len(self.lowpass):
            raise UserError(
                f"BandPower: the signal has {signal.shape[0]} channels, expected {len(self.lowpass)}, in the order of lowpass."
            )

    def filter(self, signal: Float[Tensor, "channels samples"]) -> Float[Tensor, "channels samples"]:
        """Band-pass every channel without delay, ends extended by odd reflection."""
        return overlap_add(signal, self.taps)

    def filter_epochs(
        self, signal: Float[Tensor, "channels samples"], history: Float[Tensor, "channels past"] | None = None
    ) -> tuple[Float[Tensor, "epochs channels samples2"], Float[Tensor, "channels past"]]:
        """Band-pass every epoch as if the recording ended with it, so that no epoch needs the future.

        Args:
            signal: whole epochs (a rest is left out).
            history: the samples before; the start is reflected where None.

        Returns:
            The epochs, and the history of the next one.
        """
        half = self.taps.shape[1] // 2
        epochs = self.cut(signal).shape[0]
        signal = signal[:, : epochs * self.epoch]
        before = 2 * signal[:, :1] - signal[:, 1 : half + 1].flip(1) if history is None else history
        joined = torch.cat([before, signal], 1)
        size = 1 << (self.epoch + 2 * half - 1).bit_length()
        response = torch.fft.rfft(self.taps, size)
        out = []
        for start in range(0, epochs, EPOCHS_AT_ONCE):
            stop = min(start + EPOCHS_AT_ONCE, epochs)
            piece = joined[:, start * self.epoch : stop * self.epoch + half].unfold(1, self.epoch + half, self.epoch)
            after = 2 * piece[..., -1:] - piece[..., -half - 1 : -1].flip(-1)
            spectrum = torch.fft.rfft(torch.cat([piece, after], -1), size)
            whole = torch.fft.irfft(spectrum * response[:, None], size)
            out.append(whole[..., 2 * half : 2 * half + self.epoch].transpose(0, 1))
        return torch.cat(out), joined[:, -half:].clone()

    def cut(self, signal: Float[Tensor, "channels samples"]) -> Float[Tensor, "epochs channels samples2"]:
        """The signal's whole epochs."""
        epochs = signal.shape[1] // self.epoch
        if not epochs:
            raise UserError(f"BandPower: {signal.shape[1]} samples are less than one epoch of {self.epoch}.")
        return signal[:, : epochs * self.epoch].unflatten(1, (epochs, self.epoch)).transpose(0, 1)

    def powers(self, epochs: Float[Tensor, "epochs channels samples"]) -> Float[Tensor, "epochs channels bands"]:
        """Power of each band in the square of the signal's unit: Welch's method with a median over windows."""
        return torch.cat([self._powers(block) for block in epochs.split(EPOCHS_AT_ONCE)])

    def _powers(self, epochs: Tensor) -> Tensor:
        windows = epochs.unfold(-1, self.size, self.size // 2)
        windows = (windows - windows.mean(-1, keepdim=True)) * self.window
        spectrum = torch.fft.rfft(windows)[..., self.low : self.low + len(self.integral)]
        squared = spectrum.real.square() + spectrum.imag.square()
        return middle(list(squared.unbind(2))) / median_bias(windows.shape[2]) @ self.integral

    def features(
        self, powers: Float[Tensor, "epochs channels bands"], filtered: Float[Tensor, "channels samples"] | None = None
    ) -> Float[Tensor, "epochs features"]:
        """Log powers, in units of `scale`, and shares, channel by channel.

        Args:
            powers: from :meth:`powers`, of signals that were not scaled.
            filtered: the signal, for the variance of "zscore".
        """
        return self.assemble(powers, self.unit(powers, filtered))

    def assemble(
        self, powers: Float[Tensor, "epochs channels bands"], unit: Float[Tensor, "epochs_or_1 channels"]
    ) -> Float[Tensor, "epochs features"]:
        """Log of powers / unit, and shares, channel by channel."""
        shares = powers / powers.sum(-1, keepdim=True).clamp(min=TINY)
        features = torch.cat([(powers / unit[..., None] + TINY).log(), shares], -1).flatten(1)
        return torch.cat([features, over_the_night(features)], 1) if self.night else features

    def rescale(self, stored: Float[Tensor, "epochs features"]) -> Float[Tensor, "epochs wide"]:
        """Features of the data set, which are in units of the z-scored recording, in units of this object's `scale`.

        Exact for "median" and "running", since these units move with the powers; "zscore" and "none" leave them as they are.
        """
        if self.scale in ("zscore", "none"):
            return torch.cat([stored, over_the_night(stored)], 1) if self.night else stored
        powers = stored.unflatten(1, (len(self.lowpass), 2 * len(BANDS)))[..., : len(BANDS)].exp()
        return self.assemble(powers, self.unit(powers, floor=0.0))

    def unit(self, powers: Tensor, filtered: Tensor | None = None, floor: float = FLAT**2) -> Float[Tensor, "epochs_or_1 channels"]:
        """What powers are divided by: one number for each channel, and each epoch where it runs."""
        if self.scale == "zscore":
            assert filtered is not None
            samples = filtered.shape[1]
            square = torch.stack([torch.dot(row, row) for row in filtered]) / samples
            variance = (square - filtered.mean(1).square())[None]  # the mean is near 0 after the high-pass: nothing is lost
        elif self.scale == "none":
            return powers.new_ones(1, powers.shape[1])
        else:
            total = powers.sum(-1)
            if self.scale == "median":
                variance = total.median(0, keepdim=True).values
            else:
                variance = (
                    total.double().cumsum(0).to(powers.dtype) / torch.arange(1, len(total) + 1, device=powers.device)[:, None]
                )
        return variance.clamp(min=floor)


def bandpass_taps(sample_rate: int, highpass: float, lowpass: float) -> np.ndarray:
    """Taps of a linear-phase band-pass, by windowed sincs with MNE's transition widths; odd in number, the middle is time 0.

    The lower transition is min(max(highpass/4, 2), highpass) Hz wide and ends at `highpass`, the upper one
    min(max(lowpass/4, 2), nyquist - lowpass) and begins at `lowpass` (the rules of `mne.filter`).
    """
    below = min(max(highpass / 4, 2.0), highpass)
    above = min(max(lowpass / 4, 2.0), sample_rate / 2 - lowpass)
    length = _odd(TAPS * sample_rate / min(below, above))
    upper = _sinc(_odd(TAPS * sample_rate / above), (lowpass + above / 2) / sample_rate)
    lower = _sinc(_odd(TAPS * sample_rate / below), (highpass - below / 2) / sample_rate)
    taps = np.zeros(length)
    taps[(length - len(upper)) // 2 : (length + len(upper)) // 2] += upper
    taps[(length - len(lower)) // 2 : (length + len(lower)) // 2] -= lower
    return taps


def _odd(length: float) -> int:
    """The next odd whole number."""
    return math.ceil(round(length, 6)) // 2 * 2 + 1


def _sinc(length: int, cutoff: float) -> np.ndarray:
    """Low-pass by a Hamming-windowed sinc with unit gain at 0 Hz; `cutoff` in cycles per sample."""
    places = np.arange(length) - (length - 1) / 2
    taps = np.hamming(length) * 2 * cutoff * np.sinc(2 * cutoff * places)
    return np.asarray(taps / taps.sum())


def overlap_add(
    signal: Float[Tensor, "channels samples"], taps: Float[Tensor, "channels taps"]
) -> Float[Tensor, "channels samples"]:
    """Filter each channel with its own symmetric taps, without delay, by blockwise FFT; ends are reflected oddly (2 x_0 - x)."""
    half = taps.shape[1] // 2
    reach = min(half, signal.shape[1] - 1)
    head = 2 * signal[:, :1] - signal[:, 1 : reach + 1].flip(1)
    tail = 2 * signal[:, -1:] - signal[:, -reach - 1 : -1].flip(1)
    joined = F.pad(torch.cat([head, signal, tail], 1), (half - reach, half - reach))
    fft = 1 << max(12, (2 * taps.shape[1] - 1).bit_length())
    step = fft - taps.shape[1] + 1
    count = -(-signal.shape[1] // step)
    joined = F.pad(joined, (0, count * step + taps.shape[1] - 1 - joined.shape[1]))
    response = torch.fft.rfft(taps, fft)[:, None]
    out = torch.empty_like(signal, memory_format=torch.contiguous_format)
    for start in range(0, count, BLOCKS):
        piece = joined[:, start * step : min(start + BLOCKS, count) * step + taps.shape[1] - 1].unfold(1, fft, step)
        valid = torch.fft.irfft(torch.fft.rfft(piece) * response, fft)[..., taps.shape[1] - 1 :].flatten(1)
        stop = min(start * step + valid.shape[1], signal.shape[1])
        out[:, start * step : stop] = valid[:, : stop - start * step]
    return out


def median_bias(windows: int) -> float:
    """Expected median of `windows` periodograms over their mean (Allen et al. 2012, appendix B), as in scipy.signal.welch."""
    return 1.0 + sum(1.0 / (n + 1) - 1.0 / n for n in range(2, windows, 2))


def middle(rows: list[Tensor]) -> Tensor:
    """Elementwise median of `rows`, the mean of the two middle ones where their number is even.

    Rows are sorted by Batcher's odd-even merge network (Knuth, vol. 3, 5.3.4 M): minima and maxima of whole rows, which is several
    times faster here than sorting many short columns. `rows` are changed.
    """
    count = len(rows)
    for low, high in _network(count):
        rows[low], rows[high] = torch.minimum(rows[low], rows[high]), torch.maximum(rows[low], rows[high])
    return (rows[(count - 1) // 2] + rows[count // 2]) / 2


def _network(count: int) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, whose exchange in this order sorts `count` values."""
    pairs = []
    p = 1
    while p < count:
        k = p
        while k >= 1:
            for j in range(k % p, count - k, 2 * k):
                for i in range(min(k, count - j - k)):
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                        pairs.append((i + j, i + j + k))
            k //= 2
        p *= 2
    return pairs


def over_the_night(features: Float[Tensor, "epochs features"]) -> Float[Tensor, "epochs features"]:
    """Each feature minus its median, over its interquartile range, over the epochs of a night: where in its night an epoch lies."""
    quarters = torch.quantile(features, torch.tensor([0.25, 0.5, 0.75], dtype=features.dtype, device=features.device), dim=0)
    return (features - quarters[1]) / (quarters[2] - quarters[0]).clamp(min=1e-3)


def _integral(size: int, sample_rate: int) -> Tensor:
    """Matrix [frequencies, bands] from squared spectra to the trapezoidal integral of the one-sided density over each band."""
    frequencies = np.fft.rfftfreq(size, 1 / sample_rate)
    sided = np.where((frequencies > 0) & (frequencies < sample_rate / 2), 2.0, 1.0)
    norm = sample_rate * float((torch.hamming_window(size, periodic=True, dtype=torch.float64) ** 2).sum())
    matrix = np.zeros((len(frequencies), len(BANDS)))
    for column, (_, low, high) in enumerate(BANDS):
        inside = np.flatnonzero((frequencies >= low) & (frequencies <= high))
        weights = np.full(len(inside), sample_rate / size)
        weights[[0, -1]] /= 2
        matrix[inside, column] = weights * sided[inside] / norm
    return torch.from_numpy(matrix).float()
