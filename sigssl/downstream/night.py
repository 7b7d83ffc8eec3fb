"""A staged night: what staging hands to the files, the figure and the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from sigssl.data.stages import SLEEP, STAGES, UNSCORED, to_int, to_tokens
from sigssl.downstream.agreement import NightPair
from sigssl.downstream.sleep_statistics import sleep_statistics

NOTICE = (
    "This is no medical device: the stages are an estimate for research, to be reviewed by a trained scorer before any other use."
)
CAVEATS = (
    "Expect lower agreement than on the model's own test set in children, sleep apnoea and other disorders, naps, wearables, other "
    "montages, and any cohort that the model has not seen."
)
AROUND = 30.0  # minutes of wake that are kept around the sleep of a reference (or of the result, with the rule `sleep`)


@dataclass(frozen=True)
class Window:
    """The epochs that the statistics are over.

    Attributes:
        first: index of the first epoch.
        stop: index behind the last one.
        rule: how it was chosen, in words.
    """

    first: int
    stop: int
    rule: str


@dataclass(frozen=True)
class Spectrogram:
    """Power of one channel.

    Attributes:
        power: decibels relative to 1 uV^2/Hz, [columns, frequencies]; NaN where the signal is flat.
        frequencies: hertz.
        seconds: length of a column.
        channel: its name.
    """

    power: np.ndarray
    frequencies: np.ndarray
    seconds: float
    channel: str


@dataclass(frozen=True)
class StagedNight:
    """One recording, staged.

    Attributes:
        name: of the night, from its file.
        path: the recording.
        probabilities: of W, N1, N2, N3, R, [epochs, 5]; a row of NaN is an epoch that could not be staged.
        epoch: seconds.
        onset: of the first epoch, in seconds from the start of the recording.
        start: when the recording began, where it says so.
        model: what staged it: name, fingerprint, split hash, training data.
        settings: what the result depends on beside the model.
        channels: where each channel of the model was taken from.
        window: what the statistics are over.
        warnings: what a reader must know.
        spectrogram: of the first EEG channel, for the figure.
        reference: tokens of the reference, one for each epoch (? where it says nothing), and where it came from.
    """

    name: str
    path: str
    probabilities: np.ndarray
    epoch: float
    window: Window
    onset: float = 0.0
    start: datetime | None = None
    model: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    channels: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    spectrogram: Spectrogram | None = None
    reference: list[str] | None = None
    reference_path: str = ""

    @property
    def stages(self) -> list[str]:
        """The most probable stage of each epoch; ? where it could not be staged."""
        known = np.isfinite(self.probabilities).all(1)
        return to_tokens(np.where(known, np.nan_to_num(self.probabilities).argmax(1), -1))

    @property
    def confidence(self) -> np.ndarray:
        """Probability of the stage that was said, [epochs]; NaN where none was."""
        return self.probabilities.max(1)

    @property
    def seconds(self) -> np.ndarray:
        """Onset of each epoch in seconds from the start of the recording."""
        return self.onset + self.epoch * np.arange(len(self.probabilities))

    def clock(self, seconds: float) -> str:
        """Time of day of a moment of the recording; hours since its start where that is not known."""
        if self.start is not None:
            return (self.start + timedelta(seconds=seconds)).strftime("%H:%M:%S")
        return str(timedelta(seconds=round(seconds)))

    def statistics(self) -> dict[str, float]:
        """Sleep statistics over the window."""
        return sleep_statistics(self.stages[self.window.first : self.window.stop], self.epoch)

    def pair(self, person: str = "") -> NightPair | None:
        """The reference and the result, up to 30 minutes around the reference's sleep, or from lights off to lights on."""
        if self.reference is None:
            return None
        window = self.window if self.window.rule.startswith("lights") else around_sleep(self.reference, self.epoch)
        part = slice(window.first, window.stop)
        return NightPair(self.name, person or self.name, self.reference[part], self.stages[part], self.epoch)

    def review(self, below: float) -> list[dict[str, Any]]:
        """Epochs of the window that a scorer should look at: said with less than `below`, or N1.

        Returns:
            For each, in order: onset (s), time, stage, confidence, second (the next probable stage), reason.
        """
        order = np.argsort(-np.nan_to_num(self.probabilities, nan=-1.0), axis=1)
        listed = []
        for k in range(self.window.first, self.window.stop):
            confidence = float(self.confidence[k])
            reasons = [*(["N1"] if order[k, 0] == 1 else []), *([f"below {below:g}"] if confidence < below else [])]
            if np.isfinite(confidence) and reasons:
                onset = float(self.seconds[k])
                listed.append(
                    {
                        "onset": onset,
                        "time": self.clock(onset),
                        "stage": STAGES[order[k, 0]],
                        "confidence": confidence,
                        "second": STAGES[order[k, 1]],
                        "reason": ", ".join(reasons),
                    }
                )
        return listed


def around_sleep(stages: list[str], epoch: float, minutes: float = AROUND) -> Window:
    """The epochs up to `minutes` before the first and after the last sleep (N1, N2, N3, R; unscored does not extend it).

    Where there is no sleep, everything.
    """
    sleep = np.flatnonzero(np.isin(stages, SLEEP))
    if not len(sleep):
        return Window(0, len(stages), "the whole recording, which has no sleep")
    more = round(minutes * 60 / epoch)
    first, stop = max(0, int(sleep[0]) - more), min(len(stages), int(sleep[-1]) + 1 + more)
    return Window(first, stop, f"sleep and up to {minutes:g} min around it")


def spectrogram(signal: np.ndarray, rate: float, channel: str, seconds: float = 30.0, highest: float = 30.0) -> Spectrogram:
    """Welch's spectrogram: in each column the mean over Hann windows of 4 s that overlap by half, each without its mean.

    Args:
        signal: microvolts [samples]; what does not fill a column is left out.
        rate: hertz.
        channel: its name.
        seconds: length of a column.
        highest: frequency up to which it goes.
    """
    size, column = round(4 * rate), round(seconds * rate)
    columns = len(signal) // column
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    views = np.lib.stride_tricks.sliding_window_view(signal[: columns * column].reshape(columns, column), size, axis=1)
    keep = np.arange(1, int(highest * size / rate) + 1)
    power = np.empty((columns, len(keep)), dtype=np.float32)
    for first in range(0, columns, 64):  # a block at a time: windows overlap, so that they are twice the signal
        block = views[first : first + 64, :: size // 2]
        spectrum = np.fft.rfft((block - block.mean(-1, keepdims=True)) * window, axis=-1)[..., keep]
        power[first : first + 64] = (spectrum.real**2 + spectrum.imag**2).mean(1) * 2 / (rate * (window**2).sum())
    with np.errstate(divide="ignore"):
        decibels = 10 * np.log10(power)
    return Spectrogram(np.where(np.isfinite(decibels), decibels, np.nan), keep * rate / size, seconds, channel)


def errors(reference: list[str], result: list[str]) -> np.ndarray:
    """Whether both say a stage and not the same, [epochs]."""
    one, other = to_int(reference), to_int(result)
    return (one >= 0) & (other >= 0) & (one != other)


def unscored(stages: list[str]) -> int:
    """How many epochs have no stage."""
    return sum(stage == UNSCORED for stage in stages)
