"""What happens between a mouth and a file: a room, a level, and a noise behind it all; every draw from the generator."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

SPEED_OF_SOUND = 343.0


def room(rng: np.random.Generator, sample_rate: int) -> Float32[np.ndarray, " taps"]:
    """A room's impulse response: the direct sound at tap 0, then noise that decays by 60 dB within 0.15 to 0.5 s.

    The noise model is Polack's (1988). The first reflection comes after a detour of 1 to 5 m; the direct sound is 0 to 12 dB
    above the energy of all reflections.
    """
    rt60 = rng.uniform(0.15, 0.5)
    taps = int(rt60 * sample_rate)
    time = np.arange(taps) / sample_rate
    tail = rng.standard_normal(taps) * np.exp(-np.log(1000.0) * time / rt60)
    tail[: int(rng.uniform(1.0, 5.0) / SPEED_OF_SOUND * sample_rate)] = 0.0
    tail *= 10 ** (-rng.uniform(0.0, 12.0) / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    return tail.astype(np.float32)


def convolve(signal: Float32[np.ndarray, " samples"], response: Float32[np.ndarray, " taps"]) -> Float32[np.ndarray, " samples"]:
    """The signal as heard through the response, cut to the signal's length."""
    size = fft_size(len(signal) + len(response) - 1)
    heard = np.fft.irfft(np.fft.rfft(signal, size) * np.fft.rfft(response, size), size)
    return heard[: len(signal)].astype(np.float32)


def fft_size(samples: int) -> int:
    """A length of at least `samples` that is quick to transform: a multiple of 4096."""
    return -(-samples // 4096) * 4096


def coloured_noise(rng: np.random.Generator, samples: int, slope: float) -> Float32[np.ndarray, " samples"]:
    """Noise of unit RMS whose power falls as f to the power of -slope (0 white, 1 pink, 2 brown); flat below bin 20."""
    size = fft_size(samples)
    bins = np.maximum(np.arange(size // 2 + 1), 20).astype(np.float32)
    phases = rng.standard_normal((2, len(bins)), dtype=np.float32)
    noise = np.fft.irfft((phases[0] + 1j * phases[1]) * bins ** (-slope / 2), size)[:samples]
    return (noise / np.sqrt(np.mean(noise**2) + 1e-12)).astype(np.float32)


def record(
    speech: Float32[np.ndarray, " samples"], rng: np.random.Generator, sample_rate: int, noise: bool, reverb: bool
) -> Float32[np.ndarray, " samples"]:
    """Turn clean speech into a recording of the same length and timing.

    Args:
        speech: clean speech.
        rng: source of every draw; the draws are the same whatever is switched on.
        sample_rate: in hertz.
        noise: add coloured noise at 15 to 40 dB below the speech.
        reverb: let one utterance in three sound in a room.

    Returns:
        The recording, RMS at -32 to -18 dB of full scale (less where a peak would clip).
    """
    response, in_room = room(rng, sample_rate), rng.random() < 1 / 3
    slope, snr, level = rng.uniform(0.0, 2.0), rng.uniform(15.0, 40.0), rng.uniform(-32.0, -18.0)
    heard = convolve(speech, response) if reverb and in_room else speech
    rms = np.sqrt(np.mean(heard**2) + 1e-12)
    if noise:
        heard = heard + coloured_noise(rng, len(heard), slope) * np.float32(rms * 10 ** (-snr / 20))
    gain = min(10 ** (level / 20) / rms, 0.99 / (np.abs(heard).max() + 1e-12))
    return (heard * np.float32(gain)).astype(np.float32)
