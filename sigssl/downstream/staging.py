"""Stage one recording: pick its channels, read them, let the stager say the stages, look for what a reader must know."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from sigssl.data.hypnogram import Hypnogram, read_hypnogram
from sigssl.data.montage import Montage, Pick
from sigssl.data.psg import PSG, open_psg
from sigssl.data.signal import odd_scale, read_signal
from sigssl.data.stages import UNSCORED
from sigssl.downstream.fronts import BandPowerFront, EncoderFront
from sigssl.downstream.night import Spectrogram, StagedNight, Window, around_sleep, spectrogram
from sigssl.downstream.stager import Stager
from sigssl.errors import UserError
from sigssl.extract.parallel import in_threads
from sigssl.training.options import Precision
from sigssl.training.precision import resolve

SHORTEST = 300.0  # seconds below which a result is hardly of use (as YASA warns)
LONGEST = 14.0  # hours of a night, beyond which its whole record is no time in bed
SLOWEST = 80.0  # hertz of a channel below which a warning is due (YASA refuses it)
FEWEST = 60.0  # hertz below which the bands up to 30 Hz are not there: refused
USUAL = (5.0, 100.0)  # microvolts: robust standard deviation of sleep EEG
LIGHTS = {"off": re.compile(r"lights?[\s_-]*(off|out)", re.I), "on": re.compile(r"lights?[\s_-]*on", re.I)}
WindowRule = Literal["auto", "lights", "recording", "sleep"]


@dataclass(frozen=True)
class StagingSettings:
    """What the stages of a recording depend on, beside the model and the recording.

    Attributes:
        montage: where the model's channels are found: the name of a shipped montage or a YAML file; "": that of the model.
        causal: stage epoch by epoch, as if the night were still going on.
        window: what the statistics are over. auto: from lights off to lights on where they are known, else the recording; lights:
            these, or an error; recording: all of it; sleep: the sleep that was found and up to 30 min around it.
        lights_off: seconds from the start, or a time of day (22:30, 22:30:15); "": the recording's annotation.
        lights_on: likewise.
        assume_unit: the unit of channels that state none.
        discontinuous: "fill" keeps the true time axis of an EDF+D file and leaves epochs that touch a gap unscored; or "refuse".
        review_below: confidence below which an epoch is listed for review.
        precision: of a neural encoder's matrix products: 32-true, bf16-mixed, or auto: bf16-mixed where the device multiplies
            bfloat16 natively. Band powers, sequence head and `causal` staging are always in float32.
    """

    montage: str = ""
    causal: bool = False
    window: WindowRule = "auto"
    lights_off: str = ""
    lights_on: str = ""
    assume_unit: str = ""
    discontinuous: Literal["fill", "refuse"] = "fill"
    review_below: float = 0.6
    precision: Precision = "auto"


def stage_recording(
    path: str | Path,
    stager: Stager,
    settings: StagingSettings,
    *,
    name: str = "",
    model: dict[str, Any] | None = None,
    reference: str | Path | None = None,
    figure: bool = True,
) -> StagedNight:
    """Stage one recording.

    Args:
        path: EDF, BDF, FIF, BrainVision or EEGLAB.
        stager: in eval mode, on the device that is to compute.
        settings: how.
        name: of the night; by default the file's.
        model: what is kept of the stager: name, fingerprint, `meta`.
        reference: a hypnogram of the same night.
        figure: whether the spectrogram for the figure is made.

    Raises:
        UserError: the recording cannot be read, lacks a channel, or is shorter than an epoch.
    """
    psg = open_psg(path, assume_unit=settings.assume_unit or None, discontinuous=settings.discontinuous)
    montage = find_montage(stager, settings, model or {})
    picks = montage.pick(psg)
    if psg.duration < stager.epoch_seconds:
        raise UserError(f"{path}: lasts {psg.duration:g} s, less than one epoch of {stager.epoch_seconds:g} s.")
    signal = read_signal(psg, montage, sample_rate=float(stager.sample_rate), **_conditioning(stager, model or {}, picks))
    precision = precision_of(stager, settings)
    probabilities = probabilities_of(stager, signal, settings.causal, precision == "bf16-mixed")
    dead = flat_epochs(stager, signal)
    touched = touched_epochs(psg.gaps, len(probabilities), stager.epoch_seconds)
    probabilities[dead | touched] = np.nan
    night = StagedNight(
        name=name or Path(path).stem,
        path=str(path),
        probabilities=probabilities,
        epoch=stager.epoch_seconds,
        window=Window(0, len(probabilities), "the whole recording"),
        start=psg.start,
        model=model or {},
        settings=asdict(settings) | {"precision": precision},
        channels=[_described(pick) for pick in picks],
        warnings=[*psg.notes, *warnings_of(psg, picks, signal, dead & ~touched, touched)],
        spectrogram=_first_eeg(signal, picks, stager) if figure else None,
    )
    return _finished(night, psg, settings, reference)


def find_montage(stager: Stager, settings: StagingSettings, model: dict[str, Any]) -> Montage:
    """The stager's channels in the montage that the settings name, or the model; else in Sleep-EDF's, or by their plain names."""
    if settings.montage:
        return Montage.read(settings.montage).select(stager.channels)
    kept = model.get("meta", {}).get("montage")
    if kept:
        known = Montage.read(kept) if isinstance(kept, str) else Montage(kept, "the model's montage")
        return known.select(stager.channels)
    usual = Montage.read("sleep_edf")
    return usual.select(stager.channels) if set(stager.channels) <= set(usual.names) else Montage.of(stager.channels)


def precision_of(stager: Stager, settings: StagingSettings) -> Literal["32-true", "bf16-mixed"]:
    """What an encoder's products are computed in; float32 where there is no encoder, or epochs come one by one."""
    if settings.causal or not isinstance(stager.front, EncoderFront):
        return "32-true"
    return resolve(settings.precision, next(stager.parameters()).device.type)


@torch.no_grad()
def probabilities_of(stager: Stager, signal: np.ndarray, causal: bool, bf16: bool = False) -> np.ndarray:
    """Probabilities [epochs, 5] of W, N1, N2, N3, R.

    Args:
        stager: the stager.
        signal: microvolts [samples, channels].
        causal: push the epochs one by one through the stager's state, which keeps its size.
        bf16: compute the front of a whole night under autocast to bfloat16.

    Raises:
        UserError: `causal` with a stager that needs the whole night.
    """
    if causal:
        stager.stream()  # refused here, before anything is computed
    tensor = torch.from_numpy(np.ascontiguousarray(signal.T)).to(next(stager.parameters()).device)
    job = functools.partial(_streamed, stager) if causal else functools.partial(stager.stage, bf16=bf16)
    small = causal or isinstance(stager.front, BandPowerFront)  # so little work that threads would mostly wait for one another
    return in_threads(job, 1 if small else torch.get_num_threads(), tensor).cpu().numpy().astype(np.float32)


def _streamed(stager: Stager, signal: torch.Tensor) -> torch.Tensor:
    stream, size = stager.stream(), round(stager.epoch_seconds * stager.sample_rate)
    return torch.stack([stream.push(signal[:, at : at + size]) for at in range(0, signal.shape[1] - size + 1, size)])


def flat_epochs(stager: Stager, signal: np.ndarray) -> np.ndarray:
    """Epochs in which no channel moves at all: nothing was recorded, whatever a model may say of it."""
    size = round(stager.epoch_seconds * stager.sample_rate)
    epochs = signal[: len(signal) // size * size].reshape(-1, size, signal.shape[1])
    return (np.ptp(epochs[:, :: max(size // 300, 1)], axis=1) < 1e-3).all(1)


def touched_epochs(gaps: Sequence[tuple[float, float]], epochs: int, epoch: float) -> np.ndarray:
    """Epochs that touch a gap of the recording."""
    touched = np.zeros(epochs, dtype=bool)
    for start, end in gaps:
        touched[max(math.floor(start / epoch), 0) : math.ceil(end / epoch)] = True
    return touched


def warnings_of(psg: PSG, picks: Sequence[Pick], signal: np.ndarray, dead: np.ndarray, touched: np.ndarray) -> list[str]:
    """What a reader of the result must know of the recording."""
    told = []
    if psg.duration < SHORTEST:
        told.append(f"lasts {psg.duration / 60:.1f} min: with less than 5 minutes the model has little to go by.")
    for column, pick in enumerate(picks):
        if pick.rate < SLOWEST:
            told.append(f"{pick.source} has {pick.rate:g} Hz, fewer than {SLOWEST:g}: what the model looks at is partly cut off.")
        told += _scale_warning(pick, signal[:: max(len(signal) // 200_000, 1), column])
    if touched.any():
        told.append(f"{int(touched.sum())} epochs touch a gap of the recording and are unscored.")
    if dead.any():
        told.append(f"{int(dead.sum())} epochs have no signal in any channel and are unscored.")
    return told


def _scale_warning(pick: Pick, values: np.ndarray) -> list[str]:
    """By the robust standard deviation (interquartile range / 1.349) of a channel."""
    low, high = np.percentile(values, [25, 75])
    spread = float(high - low) / 1.349
    odd = odd_scale(spread)
    if odd:
        return [
            f"{pick.source} is {odd}." if odd.startswith("flat") else f"{pick.source}: {odd}. Check the unit in the file's header."
        ]
    if USUAL[0] <= spread <= USUAL[1] or not _is_eeg(pick):
        return []
    told = f"{pick.source} has a spread of {spread:.3g} uV, where sleep EEG has {USUAL[0]:g} to {USUAL[1]:g}"
    return [f"{told}: check electrode, gain and unit."]


def _is_eeg(pick: Pick) -> bool:
    return not re.search("EOG|EMG|ECG|chin|horizontal", f"{pick.name} {pick.source}", re.I)


def _finished(night: StagedNight, psg: PSG, settings: StagingSettings, reference: str | Path | None) -> StagedNight:
    """With window and reference."""
    from dataclasses import replace

    night = replace(night, window=choose_window(night, psg, settings))
    if reference is not None:
        hypnogram = read_hypnogram(reference, night.epoch, start=night.start)
        tokens, notes = aligned(hypnogram, len(night.stages), night.epoch)
        warned = [*night.warnings, *(f"reference: {note}" for note in (*hypnogram.notes, *notes))]
        night = replace(night, reference=tokens, reference_path=str(reference), warnings=warned)
    hours = night.epoch * (night.window.stop - night.window.first) / 3600
    if hours > LONGEST and night.window.rule.startswith("the whole"):
        told = (
            f"the statistics are over the whole recording of {hours:.1f} h, which is no time in bed: "
            f"give --lights-off and --lights-on, or --window sleep."
        )
        night = replace(night, warnings=[*night.warnings, told])
    return night


def aligned(hypnogram: Hypnogram, epochs: int, epoch: float) -> tuple[list[str], list[str]]:
    """A hypnogram on the recording's epochs.

    Args:
        hypnogram: onset in seconds from the recording's start.
        epochs: of the recording.
        epoch: seconds.

    Returns:
        A token for each epoch (? where the hypnogram says nothing), and what was left out.

    Raises:
        UserError: they have no epoch in common, or the grids are shifted by more than a second.
    """
    shift = hypnogram.onset / epoch
    first = round(shift)
    if abs(shift - first) * epoch > 1.0:
        raise UserError(
            f"the reference begins {hypnogram.onset:g} s into the recording, off its grid of {epoch:g}-s epochs; "
            f"export it from the recording's start."
        )
    tokens, there = [UNSCORED] * epochs, 0
    for k, stage in enumerate(hypnogram.stages):
        if 0 <= first + k < epochs:
            tokens[first + k], there = stage, there + 1
    if not there:
        raise UserError("the reference and the recording have no epoch in common; is it of another night?")
    outside = len(hypnogram.stages) - there
    notes = [f"{outside} epochs lie outside of the recording"] if outside else []
    return tokens, notes + ([f"{epochs - there} epochs of the recording have none"] if there < epochs else [])


def choose_window(night: StagedNight, psg: PSG, settings: StagingSettings) -> Window:
    """The epochs that the statistics are over, by the rule of the settings.

    Raises:
        UserError: lights are asked for and not known, or lie outside of the recording.
    """
    whole = night.window
    if settings.window == "sleep":
        return around_sleep(night.stages, night.epoch)
    if settings.window == "recording":
        return whole
    off, on = (_light(which, given, night, psg) for which, given in (("off", settings.lights_off), ("on", settings.lights_on)))
    if off is None and on is None:
        if settings.window == "lights":
            raise UserError(f"{night.path}: notes no lights off or on; give --lights-off and --lights-on, or another --window.")
        return whole
    first = 0 if off is None else min(max(math.ceil(off / night.epoch - 1e-6), 0), whole.stop)
    stop = whole.stop if on is None else min(max(math.floor(on / night.epoch + 1e-6), 0), whole.stop)
    if stop <= first:
        raise UserError(f"{night.path}: no epoch lies between lights off ({off} s) and lights on ({on} s) of the recording.")
    known = (
        "lights off to lights on"
        if off is not None and on is not None
        else "lights off to the end"
        if on is None
        else "start to lights on"
    )
    return Window(first, stop, known if off is not None else f"lights: {known}")


def _light(which: str, given: str, night: StagedNight, psg: PSG) -> float | None:
    """Seconds from the recording's start."""
    if given:
        return moment(given, night.start, f"--lights-{which}")
    found = [note.onset for note in psg.annotations if LIGHTS[which].search(note.text)]
    return (found[0] if which == "off" else found[-1]) if found else None


def moment(text: str, start: datetime | None, where: str) -> float:
    """Seconds from `start` to a time of day (the next one that follows), or a plain number of seconds.

    Raises:
        UserError: neither of the two, or a time of day where the recording does not say when it began.
    """
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    found = re.fullmatch(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", text)
    if found is None or int(found[1]) > 23 or int(found[2]) > 59 or int(found[3] or 0) > 59:
        raise UserError(f"{where} {text!r}: expected a time of day such as 22:30 or 22:30:15, or seconds from the start.")
    if start is None:
        raise UserError(f"{where} {text}: the recording does not say when it began; give seconds from its start.")
    at = start.replace(hour=int(found[1]), minute=int(found[2]), second=int(found[3] or 0), microsecond=0)
    return ((at if at >= start else at + timedelta(days=1)) - start).total_seconds()


def _conditioning(stager: Stager, model: dict[str, Any], picks: Sequence[Pick]) -> dict[str, Any]:
    """What the signal goes through: the filter that the model's meta names, none where its front filters itself."""
    meta, own = model.get("meta", {}), isinstance(stager.front, BandPowerFront)
    how = {name: None if own else meta.get(name, usual) for name, usual in (("highpass", 0.3), ("lowpass", 35.0))}
    return how | {"upsample": min(pick.rate for pick in picks) >= FEWEST}


def _first_eeg(signal: np.ndarray, picks: Sequence[Pick], stager: Stager) -> Spectrogram:
    column = next((k for k, pick in enumerate(picks) if _is_eeg(pick)), 0)
    return spectrogram(np.ascontiguousarray(signal[:, column]), float(stager.sample_rate), picks[column].name, stager.epoch_seconds)


def _described(pick: Pick) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in pick._asdict().items()}
