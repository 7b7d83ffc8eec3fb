"""What a night holds besides sleep: movements, electrodes that pop, traces of the mains; and the channels at one hertz."""

from __future__ import annotations

import numpy as np

from sigssl.corpora.nights.background import EPOCH, RATE
from sigssl.corpora.nights.events import REM, W, times

TONE = np.array([3.0, 2.1, 1.8, 1.6, 0.9])  # microvolts of the rectified chin EMG per stage
MAINS = 49.7  # Hz


def movements(stages: np.ndarray, moving: np.ndarray, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Start and length, in samples, of movements: often awake, seldom asleep, always in epochs scored as movement time."""
    per_minute = np.where(stages == W, 0.35, 0.03)
    starts = [*times(per_minute, rng), *(n * EPOCH * RATE for n in np.flatnonzero(moving).tolist())]
    last = len(stages) * EPOCH * RATE
    longest = [EPOCH * RATE if n % (EPOCH * RATE) == 0 and moving[n // (EPOCH * RATE)] else 12 * RATE for n in starts]
    return [
        (int(at), int(min(last - at, most * rng.uniform(0.15, 1.0)))) for at, most in zip(starts, longest, strict=True) if at < last
    ]


def disturb(signal: np.ndarray, moved: list[tuple[int, int]], rng: np.random.Generator) -> None:
    """Add movements, pops and mains to [channels, samples] in place, in microvolts."""
    channels, samples = signal.shape
    for at, length in moved:
        noise = rng.standard_normal((channels, length), dtype=np.float32)
        slow = np.cumsum(noise, axis=1, dtype=np.float32)
        slow -= np.linspace(0, 1, length, dtype=np.float32) * slow[:, -1:]
        window = np.hanning(length).astype(np.float32)
        size = np.float32(rng.gamma(3.0, 12.0))
        signal[:, at : at + length] += window * (size / 3 * noise + size * slow / np.float32(np.sqrt(length) / 2))
    for at in np.sort(rng.integers(0, samples, rng.poisson(samples / RATE / 3600 * 1.5))):
        length = min(samples - int(at), 4 * RATE)
        decay = np.exp(-np.arange(length) / RATE / rng.uniform(0.2, 1.0))
        signal[rng.integers(channels), at : at + length] += (rng.choice((-1, 1)) * rng.gamma(4.0, 60.0) * decay).astype(np.float32)
    hum = np.sin(2 * np.pi * MAINS / RATE * np.arange(samples, dtype=np.float64)).astype(np.float32)
    for channel in range(channels):
        signal[channel] += np.float32(rng.gamma(1.5, 0.4)) * hum
    for at in rng.integers(0, samples, rng.poisson(2.0)):  # an electrode that dries out for some minutes
        length = int(rng.uniform(1, 10) * 60 * RATE)
        signal[rng.integers(channels), at : at + length] += np.float32(rng.gamma(2.0, 3.0)) * hum[at : at + length]


def chin(stages: np.ndarray, moved: list[tuple[int, int]], muscle: float, rng: np.random.Generator) -> np.ndarray:
    """The rectified and smoothed chin EMG at 1 Hz, in microvolts, as Sleep-EDF's cassettes hold it."""
    seconds = len(stages) * EPOCH
    level = np.repeat(TONE[stages], EPOCH)
    level = np.convolve(np.pad(level, 8, mode="edge"), np.ones(17) / 17, "valid")
    slow = np.interp(np.arange(seconds), np.arange(0, seconds + 60, 60), rng.normal(0, 0.22, seconds // 60 + 1))
    tone = muscle * level * np.exp(slow + rng.normal(0, 0.06, seconds))
    for at in times(np.where(stages == REM, 1.5, 0.2), rng):  # twitches
        tone[at // RATE : at // RATE + 2] += rng.gamma(2.0, 0.3)
    for at, length in moved:
        tone[at // RATE : (at + length) // RATE + 1] += rng.gamma(4.0, 0.6)
    return np.asarray(np.clip(tone, 0.05, 5.0).astype(np.float32))


def breath(seconds: int, rng: np.random.Generator) -> np.ndarray:
    """Oro-nasal airflow at 1 Hz, without unit: breaths of 3.5 to 4.5 s, now and then a deep one."""
    wander = np.interp(np.arange(seconds), np.arange(0, seconds + 60, 60), rng.normal(0, 0.015, seconds // 60 + 1))
    phase = np.cumsum(rng.uniform(0.22, 0.28) + wander)
    return np.asarray((450 * (1 + 5 * wander) * np.sin(2 * np.pi * phase) + rng.normal(0, 60, seconds)).astype(np.float32))


def temperature(seconds: int, rng: np.random.Generator) -> np.ndarray:
    """Rectal temperature at 1 Hz, in degrees Celsius: falling by about half a degree towards the morning."""
    course = 0.3 * np.cos(np.pi * np.arange(seconds) / max(seconds, 6 * 3600))
    return np.asarray((rng.normal(36.9, 0.12) + course + rng.normal(0, 0.004, seconds)).astype(np.float32))
