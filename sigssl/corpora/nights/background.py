"""The ongoing signal: noise whose spectrum follows the band powers of every epoch, gradually from one to the next.

Frames of 4 s with independent random phases overlap by half under a sine window, so that power is steady between frames of equal
spectrum and slides where spectra differ.
"""

from __future__ import annotations

import numpy as np

from sigssl.corpora.nights.bands import BANDS, CHANNELS

RATE = 100  # Hz, of EEG and EOG
EPOCH = 30  # seconds
FRAME = 400  # samples
HOP = FRAME // 2
FREQUENCIES = np.fft.rfftfreq(FRAME, 1 / RATE)
CORRELATION = np.array([[1.0, 0.35, 0.4], [0.35, 1.0, 0.2], [0.4, 0.2, 1.0]])  # between channels, of the noise
BLEND = 0.3  # part of an epoch, about each border, over which spectra slide into one another
WANDER = 0.25  # standard deviation of where the change really lies, in epochs from the border
FLOOR = 0.2  # part of a band's power that is always noise, however strong the events in it are
_CENTRES = np.log([np.sqrt(low * high) for low, high in BANDS.values()])
_IN_BAND = np.stack([np.clip(FREQUENCIES, low, high - 1e-6) == FREQUENCIES for low, high in BANDS.values()])
_WINDOW = np.hanning(FRAME + 1)[:-1]


def frames_in(samples: int) -> int:
    """How many frames, half overlapping, cover a signal; the first begins one hop before it."""
    return samples // HOP + 1


def spectra(powers: np.ndarray, alpha: float, peak: np.ndarray, slope: float) -> np.ndarray:
    """Power densities whose integral over each band is as asked.

    Args:
        powers: [epochs, bands] in microvolts squared.
        alpha: the person's alpha frequency, in hertz.
        peak: [epochs] how far the alpha peak stands out of the band, as a factor.
        slope: by which power of the frequency the density falls above 22 Hz.

    Returns:
        [epochs, frequencies] in microvolts squared per hertz: log-linear between the bands' centres, with a peak at alpha, falling
        below 0.5 Hz as an amplifier's high-pass.
    """
    log_f = np.log(np.maximum(FREQUENCIES, 0.1))
    place = np.clip(np.searchsorted(_CENTRES, log_f, "right") - 1, 0, len(_CENTRES) - 2)
    part = np.clip((log_f - _CENTRES[place]) / (_CENTRES[place + 1] - _CENTRES[place]), 0.0, 1.0)
    beyond = -slope * np.maximum(log_f - _CENTRES[-1], 0) + 0.8 * np.maximum(_CENTRES[0] - log_f, 0)
    shape = beyond - np.log1p((0.5 / np.maximum(FREQUENCIES, 1e-3)) ** 4) - ((FREQUENCIES / 48.0) ** 24)
    bump = np.log1p(peak[:, None] * np.exp(-0.5 * ((FREQUENCIES - alpha) / 0.6) ** 2))
    knots = np.log(powers / np.diff(list(BANDS.values()), axis=1).T)
    for _ in range(4):
        density = np.exp(knots[:, place] * (1 - part) + knots[:, place + 1] * part + shape + bump)
        knots += np.log(powers / (density @ _IN_BAND.T * (RATE / FRAME)))
    return np.asarray(np.exp(knots[:, place] * (1 - part) + knots[:, place + 1] * part + shape + bump))


def band_powers(signal: np.ndarray, epochs: int) -> np.ndarray:
    """Median power of each band over the 4-s frames of every epoch, [epochs, bands] in the signal's unit squared."""
    per_epoch = EPOCH * RATE
    folded = signal[: epochs * per_epoch].reshape(epochs, per_epoch)
    starts = np.arange(0, per_epoch - FRAME + 1, HOP)
    found = np.empty((len(starts), epochs, len(BANDS)), np.float32)
    for n, start in enumerate(starts):
        power = np.abs(np.fft.rfft(folded[:, start : start + FRAME] * _WINDOW)) ** 2
        found[n] = power @ _IN_BAND.T
    return np.asarray(np.median(found, axis=0) * 2 / (FRAME * np.sum(_WINDOW**2)))


def sources(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Random spectra, alike between channels as :data:`CORRELATION` says: complex [channels, frames, frequencies] of unit power."""
    parts = rng.standard_normal((len(CHANNELS), frames_in(samples), 2 * len(FREQUENCIES)), dtype=np.float32).view(np.complex64)
    mixing = np.linalg.cholesky(CORRELATION / 2).astype(np.float32)
    for channel in reversed(range(len(CHANNELS))):  # in place: a channel takes from those before it
        parts[channel] *= mixing[channel, channel]
        for other in range(channel):
            parts[channel] += mixing[channel, other] * parts[other]
    return parts


def sound(density: np.ndarray, source: np.ndarray, borders: np.ndarray, samples: int) -> np.ndarray:
    """Noise that follows the densities.

    Args:
        density: [epochs, frequencies].
        source: [frames, frequencies] from `sources`.
        borders: [epochs + 1] by how many epochs each border's change comes late.
        samples: length wanted.

    Returns:
        [samples] float32.
    """
    epochs = len(density)
    time = np.arange(len(source)) * HOP / (EPOCH * RATE)  # the frames' centres, in epochs
    place = time - np.interp(time, np.arange(epochs + 1), borders)
    border = np.clip(np.round(place), 0, epochs).astype(int)
    weight = np.clip((place - border) / BLEND + 0.5, 0.0, 1.0)[:, None].astype(np.float32)
    root = np.log(density).astype(np.float32) / 2
    before, after = root[np.clip(border - 1, 0, epochs - 1)], root[np.clip(border, 0, epochs - 1)]
    amplitude = np.exp(before + (after - before) * weight) * np.float32(np.sqrt(RATE * FRAME / 2))
    frames = np.fft.irfft(source * amplitude, FRAME, axis=-1).astype(np.float32)
    frames *= np.sin(np.pi * (np.arange(FRAME) + 0.5) / FRAME).astype(np.float32)
    made = np.zeros((len(source) + 1) * HOP, np.float32)
    made[:-HOP] += frames[:, :HOP].reshape(-1)
    made[HOP:] += frames[:, HOP:].reshape(-1)
    return made[HOP : HOP + samples]
