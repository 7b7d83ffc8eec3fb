"""Nights side by side: spectra of each stage, and how well band powers of one set tell the stages of another."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from sigssl.data.datadir import DataDir
from sigssl.data.psg import Montage, open_psg, read_signal
from sigssl.data.stages import to_int
from sigssl.downstream.agreement import scores
from sigssl.errors import UserError
from sigssl.features.bandpower import BandPower

RATE = 100
CHANNELS = ("Fpz-Cz", "Pz-Oz", "EOG")
WINDOW = 4  # seconds


class Spectra(NamedTuple):
    """Densities of a channel: `values` [nights, stages, frequencies], in dB over 1 uV^2/Hz; NaN where a night lacks a stage."""

    name: str
    frequencies: Float[np.ndarray, " frequencies"]
    values: Float[np.ndarray, "nights stages frequencies"]


class Powers(NamedTuple):
    """Band-power features of nights: `features` [epochs, channels * 10], `stages` (-1: unscored), `persons`, one for each epoch."""

    name: str
    features: Float[np.ndarray, "epochs features"]
    stages: Int[np.ndarray, " epochs"]
    persons: np.ndarray


def spectra(data: DataDir, montage: Montage, channel: str, name: str) -> Spectra:
    """The median density of each stage in each night (Welch, 4 s, Hann, mean over an epoch).

    Args:
        data: scored nights.
        montage: their channels.
        channel: whose density.
        name: of the set.

    Raises:
        UserError: no scored nights, or what reading them raises.
    """
    found = []
    frequencies = np.fft.rfftfreq(WINDOW * RATE, 1 / RATE)
    for signal, stages, rate in _nights(data, montage.select([channel])):
        density = welch(signal[:, 0], round(data.epoch_length * RATE))
        with np.errstate(divide="ignore"):
            decibel = np.where(frequencies < 0.45 * rate, 10 * np.log10(density), np.nan)[: len(stages)]
        rows = [np.median(decibel[stages == n], 0) if (stages == n).any() else np.full(decibel.shape[1], np.nan) for n in range(5)]
        found.append(np.stack(rows))
    return Spectra(name, frequencies, np.stack(found).astype(np.float64))


def welch(signal: np.ndarray, epoch: int) -> np.ndarray:
    """Power densities [epochs, frequencies] of a signal [samples], half-overlapping Hann windows of 4 s within each epoch."""
    size = WINDOW * RATE
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    folded = signal[: len(signal) // epoch * epoch].reshape(-1, epoch)
    starts = range(0, epoch - size + 1, size // 2)
    total = sum(np.abs(np.fft.rfft(folded[:, at : at + size] * window)) ** 2 for at in starts)
    return np.asarray(total * 2 / (len(starts) * RATE * np.sum(window**2)))


def powers(data: DataDir, montage: Montage, name: str) -> Powers:
    """Band powers of Fpz-Cz, Pz-Oz and EOG, as the data set `sleepedf_bandpower_sc153` has them."""
    extract = BandPower()
    features, stages, persons = [], [], []
    people = [data.utt2spk.get(key, key) for key in _scored(data)]
    for (signal, scored, _), person in zip(_nights(data, montage.select(CHANNELS)), people, strict=True):
        with torch.no_grad():
            made = extract(torch.from_numpy(np.ascontiguousarray(signal.T))).numpy()
        features.append(made[: len(scored)])
        stages.append(scored[: len(made)])
        persons += [person] * len(features[-1])
    return Powers(name, np.concatenate(features).astype(np.float64), np.concatenate(stages), np.array(persons))


def read_powers(folder: Path, name: str) -> Powers:
    """Band powers in the layout of `sleepedf_bandpower_sc153`: `records.csv` (path, subject) and an npz for each night.

    Raises:
        UserError: no records.csv in the folder.
    """
    table = folder / "records.csv"
    if not table.is_file():
        raise UserError(f"{table}: no such file; expected a folder of band powers with records.csv and records/*.npz.")
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    nights = []
    for row in rows:
        with np.load(folder / row["path"]) as night:
            nights.append((night["features"].reshape(len(night["labels"]), -1), night["labels"], row["subject"]))
    persons = np.concatenate([np.full(len(labels), subject) for _, labels, subject in nights])
    stages = np.concatenate([labels for _, labels, _ in nights]).astype(np.int64)
    return Powers(name, np.concatenate([f for f, _, _ in nights]).astype(np.float64), np.where(stages < 0, -1, stages), persons)


def transfer(train: Powers, test: Powers, seed: int = 0) -> dict[str, Any]:
    """Logistic regression on single epochs, trained on one set, tested on another; within a set by persons, five folds.

    Returns:
        accuracy, macro_f1, kappa, f1 (by stage), epochs.
    """
    known = test.stages >= 0
    if train is not test:
        guess = _fit_predict(train.features[train.stages >= 0], train.stages[train.stages >= 0], test.features[known])
        return _scored_by(test.stages[known], guess)
    people = np.unique(test.persons)
    np.random.default_rng(seed).shuffle(people)
    guess = np.full(len(test.stages), -1)
    for fold in range(min(5, len(people))):
        held = np.isin(test.persons, people[fold::5])
        guess[held] = _fit_predict(test.features[~held & known], test.stages[~held & known], test.features[held])
    return _scored_by(test.stages[known], guess[known])


def _fit_predict(features: np.ndarray, stages: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    mean, spread = features.mean(0), np.maximum(features.std(0), 1e-9)
    model = LogisticRegression(max_iter=300).fit((features - mean) / spread, stages)
    return np.asarray(model.predict((wanted - mean) / spread))


def _scored_by(stages: np.ndarray, guess: np.ndarray) -> dict[str, Any]:
    counts = np.zeros((5, 5))
    np.add.at(counts, (stages, guess), 1)
    found = scores(counts)
    return {"epochs": len(stages), **{key: np.asarray(found[key]).tolist() for key in ("accuracy", "macro_f1", "kappa", "f1")}}


def _scored(data: DataDir) -> list[str]:
    ids = [key for key in data.ids() if key in data.stages]
    if not ids:
        raise UserError(f"{data.path}: holds no scored nights (a file `stages`).")
    return ids


def _nights(data: DataDir, montage: Montage) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Of each scored night: unfiltered signal [samples, channels] in uV at 100 Hz, stages, the lowest rate of a channel."""
    where = {utterance.id: utterance for utterance in data.utterances()}
    for key in _scored(data):
        psg = open_psg(where[key].path)
        rate = min(pick.rate for pick in montage.pick(psg))
        signal = read_signal(psg, montage, float(RATE), None, None, where[key].start, where[key].end, upsample=rate < RATE)
        yield signal, to_int(data.stages[key])[: len(signal) // round(data.epoch_length * RATE)], rate
