"""A night as the two files that Sleep-EDF has of it: `SC4ssN{E}0-PSG.edf` and `SC4ssN{E}{C}-Hypnogram.edf`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, time, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sigssl.corpora.nights.background import EPOCH, RATE
from sigssl.corpora.nights.night import Night
from sigssl.data.io import whole
from sigssl.optional import require

LABELS = {"M": "Movement time"}


class Channel(NamedTuple):
    """What Sleep-EDF's headers say of a signal: transducer, unit, samples per second, physical and digital range, filters."""

    transducer: str
    unit: str
    rate: int
    physical: tuple[float, float]
    digital: tuple[int, int]
    filters: str


CASSETTE = "HP:0.5Hz LP:100Hz [enhanced cassette BW]"
CHANNELS = {
    "EEG Fpz-Cz": Channel("Ag-AgCl electrodes", "uV", RATE, (-192, 192), (-2048, 2047), CASSETTE),
    "EEG Pz-Oz": Channel("Ag-AgCl electrodes", "uV", RATE, (-197, 196), (-2048, 2047), CASSETTE),
    "EOG horizontal": Channel("Ag-AgCl electrodes", "uV", RATE, (-1009, 1009), (-2048, 2047), CASSETTE),
    "Resp oro-nasal": Channel("Oral-nasal thermistors", "", 1, (-2048, 2047), (-2048, 2047), "HP:0.03Hz LP:0.9Hz"),
    "EMG submental": Channel("Ag-AgCl electrodes", "uV", 1, (-5, 5), (-2500, 2500), "HP:16Hz Rectification LP:0.7Hz"),
    "Temp rectal": Channel("Rectal thermistor", "DegC", 1, (34, 40), (-2849, 2731), ""),
    "Event marker": Channel("Marker button", "", 1, (-2047, 2048), (-2047, 2048), "Hold during 2 seconds"),
}


class Names(NamedTuple):
    """Who was recorded when: the file names' `ss`, `N`, `E` and `C`, and what the headers hold."""

    person: int
    night: int
    equipment: str
    scorer: str
    sex: str
    age: int
    day: date
    clock: time

    @property
    def psg(self) -> str:
        """The recording's file name."""
        return f"SC4{self.person:02d}{self.night}{self.equipment}0-PSG.edf"

    @property
    def hypnogram(self) -> str:
        """The hypnogram's file name."""
        return f"SC4{self.person:02d}{self.night}{self.equipment}{self.scorer}-Hypnogram.edf"


def names(seed: int, person: int, night: int) -> Names:
    """The names and dates of a person's night, which a night of the same person a day earlier has too but for the date."""
    rng = np.random.default_rng([seed, person, 1000])
    equipment, scorer, sex = rng.choice(list("EFG")), rng.choice(list("CHJPV")), rng.choice(["F", "M"])
    age, day = int(rng.integers(25, 102)), date(1989, 1, 2) + timedelta(days=int(rng.integers(0, 700)))
    start = np.random.default_rng([seed, person, 1000 + night]).integers(0, 90)
    return Names(
        person,
        night,
        str(equipment),
        str(scorer),
        str(sex),
        age,
        day + timedelta(days=night),
        time(22 + int(start // 60), int(start % 60)),
    )


def write(night: Night, names: Names, folder: Path) -> None:
    """Write both files, each whole, the hypnogram last.

    Raises:
        MissingExtraError: edfio is not installed.
    """
    edfio = require("edfio", "to write EDF files")
    signals = [signal(edfio, label, samples) for label, samples in night.signals.items()]
    recording = edfio.Recording(startdate=names.day)
    patient = edfio.Patient(sex=names.sex, name=f"{'Female' if names.sex == 'F' else 'Male'}_{names.age}yr")
    when: dict[str, Any] = {"recording": recording, "patient": patient, "starttime": names.clock}
    with whole(folder / names.psg) as temporary:
        edfio.Edf(signals, data_record_duration=EPOCH, **when).write(temporary)
    notes = [edfio.EdfAnnotation(*bout) for bout in bouts(night.scored)]
    with whole(folder / names.hypnogram) as temporary:
        edfio.Edf([], annotations=notes, **when).write(temporary)


def signal(edfio: Any, label: str, samples: np.ndarray) -> Any:
    """A signal of edfio's, clipped where the amplifier would have."""
    channel = CHANNELS[label]
    low, high = channel.physical
    return edfio.EdfSignal(
        np.clip(samples, low, high),
        channel.rate,
        transducer_type=channel.transducer,
        physical_dimension=channel.unit,
        physical_range=channel.physical,
        digital_range=channel.digital,
        label=label,
        prefiltering=channel.filters,
    )


def bouts(scored: Sequence[str]) -> list[tuple[float, float, str]]:
    """Onset and duration in seconds and label of every run, as Sleep-EDF writes them."""
    found, onset = [], 0.0
    for state, run in groupby(scored):
        seconds = float(EPOCH * len(list(run)))
        found.append((onset, seconds, LABELS.get(state, f"Sleep stage {state}")))
        onset += seconds
    return found
