"""A person and one of his or her nights: stages, then signals."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np

from sigssl.corpora.nights import artefacts, background, bands, dynamics, events
from sigssl.corpora.nights.background import EPOCH
from sigssl.corpora.nights.events import N3, Traits

AASM = {"?": 0, "W": 0, "1": 1, "2": 2, "3": 3, "4": 3, "R": 4, "M": 0}
WHOLE_NIGHT = 900  # epochs of a sleep period below which the night passes faster
EDGE = 70  # epochs of wake before and after sleep in a long recording, on average
UNSCORED = 4  # epochs at the end, where there is room for them
BETA_OF_EOG = 3.0  # the features of the EOG end at 15 Hz; this much of log beta power is lost there
SCORER_SLACK = 0.12  # epochs at a border that a scorer gives to the stage before or after
ALPHA_PEAK = (6.0, 1.2, 0.3, 0.0, 0.8)  # how far the alpha peak stands out per stage
DEEP = 0.35  # log delta power of stage 4 above that of stage 3, halved


class Night(NamedTuple):
    """A recording.

    Attributes:
        scored: Rechtschaffen & Kales' stage per 30-s epoch, from the start; `M` movement time, `?` not scored.
        signals: label -> samples, float32: 100 Hz EEG and EOG, 1 Hz others, under Sleep-EDF's names.
    """

    scored: list[str]
    signals: dict[str, np.ndarray]


@cache
def statistics() -> dict[str, Any]:
    """The package's statistics: `dynamics` of hypnograms and `bands` of band powers, with where they come from."""
    return dict(json.loads(files("sigssl.corpora.nights").joinpath("statistics.json").read_text(encoding="utf-8")))


def person(seed: int, number: int) -> Traits:
    """The person of a number; the same seed and number give the same one."""
    rng = np.random.default_rng([seed, number, 0])
    amplitude = rng.normal(0, 0.2)
    return Traits(
        alpha=rng.normal(9.8, 0.8),
        spindle=rng.normal(13.0, 0.6),
        spindles=rng.gamma(6.0, 0.6),
        complexes=rng.gamma(4.0, 0.35),
        eyes=rng.gamma(5.0, 3.5),
        blinks=rng.gamma(3.0, 4.0),
        gains=np.array([27.0, 14.0, 45.0]) * np.exp(amplitude + rng.normal(0, 0.15, 3)),
        slope=rng.normal(2.0, 0.4),
        muscle=np.exp(rng.normal(0, 0.25)),
        bands=bands.draw_person(statistics()["bands"], rng),
    )


def hypnogram(epochs: int, rng: np.random.Generator) -> list[str]:
    """A night's stages: wake, the sleep period, wake, and a few unscored epochs, as Sleep-EDF's recordings end.

    A recording too short for seven and a half hours of sleep holds a whole night's course passed faster (`dynamics.draw`).
    """
    edges = [max(1, int(min(EDGE, 0.09 * epochs) * rng.uniform(0.7, 1.3))) for _ in range(2)]
    period = max(1, epochs - sum(edges))
    unscored = min(edges[1] - 1, UNSCORED)
    asleep = dynamics.draw(statistics()["dynamics"], period, rng, max(1.0, WHOLE_NIGHT / period))
    return [*["W"] * edges[0], *asleep, *["W"] * (epochs - period - edges[0] - unscored), *["?"] * unscored]


def make(traits: Traits, epochs: int, rng: np.random.Generator) -> Night:
    """A night of a person.

    Args:
        traits: from `person`.
        epochs: 30-s epochs of the recording.
        rng: source of every draw.
    """
    scored = hypnogram(epochs, rng)
    stages = np.array([AASM[state] for state in scored])
    # what the brain does where the scorer put an epoch on the other side of a border
    shift = rng.choice((-1, 0, 1), epochs, p=(SCORER_SLACK / 2, 1 - SCORER_SLACK, SCORER_SLACK / 2))
    true = stages[np.clip(np.arange(epochs) + shift, 0, epochs - 1)]
    depth = np.where(true == N3, np.where([state == "4" for state in scored], 0.8, 0.2), 0.0)
    eeg = events.draw(true, depth, traits, rng)
    eeg += ongoing(true, np.array([state == "4" for state in scored]), eeg, traits, rng)
    moved = artefacts.movements(true, np.array([state == "M" for state in scored]), rng)
    artefacts.disturb(eeg, moved, rng)
    seconds = epochs * EPOCH
    marker = np.full(seconds, 920.0, np.float32)
    marker[rng.integers(0, seconds, 2)] = 150.0  # lights off, lights on
    return Night(
        scored,
        {
            "EEG Fpz-Cz": eeg[0],
            "EEG Pz-Oz": eeg[1],
            "EOG horizontal": eeg[2],
            "Resp oro-nasal": artefacts.breath(seconds, rng),
            "EMG submental": artefacts.chin(true, moved, traits.muscle, rng),
            "Temp rectal": artefacts.temperature(seconds, rng),
            "Event marker": marker,
        },
    )


def ongoing(stages: np.ndarray, deep: np.ndarray, drawn: np.ndarray, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """The noise that, with the events drawn already, has the band powers of a night: [channels, samples] float32 in microvolts."""
    wanted = bands.draw_night(statistics()["bands"], traits.bands, stages, rng)
    wanted = wanted.reshape(len(stages), len(bands.CHANNELS), len(bands.BANDS))
    wanted[:, 2, 4] += BETA_OF_EOG
    wanted[:, :2, 0] += np.where(stages == N3, np.where(deep, DEEP / 2, -DEEP / 2), 0.0)[:, None]
    samples = drawn.shape[1]
    borders = rng.normal(0, background.WANDER, len(stages) + 1).clip(-0.45, 0.45)
    peak = np.array(ALPHA_PEAK)[stages] * np.exp(rng.normal(0, 0.5, len(stages)))
    made = np.empty_like(drawn)
    for channel, source in enumerate(background.sources(samples, rng)):
        power = np.exp(wanted[:, channel]) * traits.gains[channel] ** 2
        power = np.maximum(power - background.band_powers(drawn[channel], len(stages)), background.FLOOR * power)
        density = background.spectra(power, traits.alpha, peak * (0.3 if channel == 2 else 1.0), traits.slope)
        made[channel] = background.sound(density, source, borders, samples)
    return made
