"""What stands out of the ongoing signal: spindles, K complexes, slow waves, vertex waves, sawtooth waves, eye movements, blinks.

Amplitudes are in microvolts at the electrodes of Sleep-EDF (Fpz-Cz, Pz-Oz, horizontal EOG); the usual criteria are those of the
scoring manuals (Rechtschaffen & Kales 1968; Iber et al. 2007): K complexes of 0.5 s and more, spindles of 11 to 16 Hz and half a
second, slow waves of 0.5 to 2 Hz above 75 microvolts, rapid eye movements whose first deflection is shorter than half a second.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sigssl.corpora.nights.background import EPOCH, RATE
from sigssl.corpora.nights.bands import CHANNELS

W, N1, N2, N3, REM = range(5)


class Traits(NamedTuple):
    """How a person's sleep looks.

    Attributes:
        alpha: frequency of the alpha rhythm, Hz.
        spindle: frequency of spindles, Hz.
        spindles: spindles per minute of N2.
        complexes: K complexes per minute of N2.
        eyes: rapid eye movements per minute of phasic REM sleep.
        blinks: blinks per minute with open eyes.
        gains: microvolts per unit of Fpz-Cz, Pz-Oz and EOG.
        slope: by which power of the frequency the spectrum falls above 22 Hz.
        muscle: tone of the chin, as a factor.
        bands: deviation of the log band powers.
    """

    alpha: float
    spindle: float
    spindles: float
    complexes: float
    eyes: float
    blinks: float
    gains: np.ndarray
    slope: float
    muscle: float
    bands: np.ndarray


def spindle(rng: np.random.Generator, frequency: float) -> np.ndarray:
    """A waxing and waning burst of 0.5 to 1.6 s, slowing a little; of amplitude 1."""
    seconds = rng.uniform(0.5, 1.6)
    t = np.arange(int(seconds * RATE)) / RATE
    f = frequency + rng.normal(0, 0.25) - rng.uniform(0.0, 0.6) * (t / seconds - 0.5)
    return np.asarray(np.hanning(len(t)) * np.sin(2 * np.pi * np.cumsum(f) / RATE + rng.uniform(0, 2 * np.pi)))


def complex_k(rng: np.random.Generator) -> np.ndarray:
    """A sharp negative wave of amplitude 1 and a slower positive one, 0.6 to 1.2 s in all."""
    down, up = int(rng.uniform(0.2, 0.4) * RATE), int(rng.uniform(0.4, 0.8) * RATE)
    return np.concatenate([-np.hanning(down), rng.uniform(0.5, 0.8) * np.hanning(up)])


def slow_wave(rng: np.random.Generator) -> np.ndarray:
    """A negative and a positive half wave of a 0.5 to 1.7 Hz oscillation, steeper on the way up, of amplitude 1."""
    down, up = int(rng.uniform(0.25, 0.7) * RATE), int(rng.uniform(0.3, 0.9) * RATE)
    return np.concatenate([-np.sin(np.pi * np.arange(down) / down), 0.8 * np.sin(np.pi * np.arange(up) / up)])


def vertex_wave(rng: np.random.Generator) -> np.ndarray:
    """A sharp negative wave of 0.15 to 0.3 s with a small positive one after it."""
    width = int(rng.uniform(0.15, 0.3) * RATE)
    return np.concatenate([-np.hanning(width), 0.35 * np.hanning(int(1.3 * width))])


def sawtooth(rng: np.random.Generator) -> np.ndarray:
    """A train of 2 to 5 s of notched triangles at 2 to 4 Hz, slow up and fast down."""
    t = np.arange(int(rng.uniform(2.0, 5.0) * RATE)) / RATE
    phase = (rng.uniform(2.0, 4.0) * t) % 1.0
    return np.asarray(np.hanning(len(t)) ** 0.5 * (np.where(phase < 0.7, phase / 0.7, (1 - phase) / 0.3) - 0.5) * 2)


def saccade(rng: np.random.Generator) -> np.ndarray:
    """A jump of the eyes within 40 to 120 ms as an amplifier with a high-pass of 0.5 Hz shows it; amplitude 1, either way."""
    rise = int(rng.uniform(0.04, 0.12) * RATE) + 1
    decay = np.exp(-np.arange(int(1.5 * RATE)) / RATE / rng.uniform(0.2, 0.45))
    return np.asarray(rng.choice((-1.0, 1.0)) * np.concatenate([np.linspace(0, 1, rise, endpoint=False), decay]))


def blink(rng: np.random.Generator) -> np.ndarray:
    """A positive wave of 0.2 to 0.4 s and its small undershoot."""
    width = int(rng.uniform(0.2, 0.4) * RATE)
    return np.concatenate([np.hanning(width), -0.15 * np.hanning(2 * width)])


def rolling(rng: np.random.Generator) -> np.ndarray:
    """Slow rolling of the eyes: 4 to 12 s of a sine of 0.2 to 0.5 Hz."""
    t = np.arange(int(rng.uniform(4.0, 12.0) * RATE)) / RATE
    return np.asarray(np.hanning(len(t)) ** 0.5 * np.sin(2 * np.pi * rng.uniform(0.2, 0.5) * t + rng.uniform(0, 6.28)))


class Canvas:
    """Where events are drawn: `signal` [channels, samples] float32 in microvolts."""

    def __init__(self, epochs: int) -> None:
        self.signal = np.zeros((len(CHANNELS), epochs * EPOCH * RATE), np.float32)

    def add(self, at: int, wave: np.ndarray, gains: tuple[float, float, float]) -> None:
        """Add a wave at a sample with a gain per channel; what reaches over the ends is cut."""
        here = self.signal[:, at : at + len(wave)]
        here += np.asarray(gains, np.float32)[:, None] * wave[: here.shape[1]].astype(np.float32)


def times(per_minute: np.ndarray, rng: np.random.Generator) -> list[int]:
    """Sample times, in order, of a Poisson process with a rate per epoch."""
    counts = rng.poisson(np.maximum(per_minute, 0.0) * EPOCH / 60)
    epochs = np.repeat(np.arange(len(counts)), counts)
    return sorted(((epochs + rng.random(len(epochs))) * EPOCH * RATE).astype(int).tolist())


def draw(stages: np.ndarray, depth: np.ndarray, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """The events of a night.

    Args:
        stages: 0 to 4 per epoch.
        depth: share of deep sleep within N3 per epoch, 0 to 1.
        traits: of the person.
        rng: source of every draw.

    Returns:
        [channels, samples] float32 in microvolts.
    """
    canvas = Canvas(len(stages))
    brain, strength = np.exp(rng.normal(0, 0.1)) * traits.gains[0] / 27.0, traits.gains[2] / 45.0
    wander = np.exp(0.5 * np.convolve(rng.standard_normal(len(stages) + 8), np.ones(9) / 3, "valid"))  # of all rates, over minutes
    # scorers do not draw the line where the brain does: at a border the next epoch's events may begin already
    blurred = np.where(rng.random(len(stages)) < 0.15, np.roll(stages, -1), stages)
    for at in times(wander * np.choose(blurred, [0.0, 0.15, 1.0, 0.35, 0.05]) * traits.spindles, rng):
        size = brain * rng.gamma(6.0, 3.0)
        front = rng.uniform(0.4, 1.0)
        canvas.add(at, spindle(rng, traits.spindle + 0.8 * (front < 0.7)), (size * front, size * (1.3 - front), 0.2 * size))
    for at in times(wander * np.choose(blurred, [0.0, 0.1, 1.0, 0.5, 0.0]) * traits.complexes, rng):
        size = brain * rng.gamma(8.0, 9.0)
        canvas.add(at, complex_k(rng), (size, 0.35 * size, 0.5 * size))
    for at in times(wander * (stages == N3) * (6 + 16 * depth), rng):
        size = brain * rng.gamma(9.0, 6.0)
        canvas.add(at, slow_wave(rng), (size, 0.45 * size, 0.4 * size))
    for at in times(wander * np.choose(blurred, [0.05, 1.5, 0.4, 0.0, 0.0]), rng):
        size = brain * rng.gamma(8.0, 5.0)
        canvas.add(at, vertex_wave(rng), (size, 0.4 * size, 0.2 * size))
    for at in times(np.choose(blurred, [0.0, 0.05, 0.0, 0.0, 0.5]), rng):
        size = brain * rng.gamma(8.0, 1.8)
        canvas.add(at, sawtooth(rng), (size, 0.4 * size, 0.3 * size))
    eyes(canvas, stages, blurred, traits, strength, rng)
    return canvas.signal


def eyes(
    canvas: Canvas, stages: np.ndarray, blurred: np.ndarray, traits: Traits, strength: float, rng: np.random.Generator
) -> None:
    """Add the movements of eyes and lids; in REM sleep they come in bursts, in wake while the eyes are open."""
    phasic = rng.random(len(stages)) < 0.45
    open_eyes = rng.random(len(stages)) < 0.6
    rapid = np.where(stages == REM, np.where(phasic, traits.eyes, 0.4), np.where(stages == W, np.where(open_eyes, 18.0, 3.0), 0.1))
    for at in times(rapid, rng):
        size = strength * rng.gamma(4.0, 14.0)
        canvas.add(at, saccade(rng), (rng.normal(0, 0.12) * size, 0.02 * size, size))
    for at in times(traits.blinks * (stages == W) * open_eyes, rng):
        size = strength * rng.gamma(8.0, 8.0)
        canvas.add(at, blink(rng), (0.6 * size, 0.03 * size, rng.uniform(0.2, 0.6) * size))
    for at in times(np.choose(blurred, [0.5, 2.5, 0.05, 0.0, 0.05]), rng):
        size = strength * rng.gamma(6.0, 9.0)
        canvas.add(at, rolling(rng), (0.08 * size, 0.02 * size, size))
