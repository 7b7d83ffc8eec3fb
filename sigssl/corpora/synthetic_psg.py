"""Synthetic nights with known stages, laid out as Sleep-EDF's. For demonstrations, tests and trying recipes; no download.

Their stages follow a model of 32 real hypnograms, their band powers the means and covariances of 124 real nights, and spindles,
K complexes, eye movements and the like stand out of noise (`sigssl.corpora.nights`).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from sigssl.corpora import sleep_edf
from sigssl.corpora.base import About
from sigssl.corpora.nights import edf, night
from sigssl.corpora.nights.background import EPOCH
from sigssl.data.datadir import DataDir
from sigssl.data.io import read_json, write_json
from sigssl.errors import UserError

ABOUT = About(
    what="nights made here: EEG, EOG, EMG and a hypnogram each, laid out as Sleep-EDF's, with stages modelled on real nights",
    licence="none on the signals; their statistics come from Sleep-EDF (ODC-By 1.0)",
    size="as many as you ask for; a night of 8 h is 18 MB",
    example="sigssl prepare synthetic_psg data/nights --nights 24 --hours 8",
)
VERSION = 1  # of the making: nights made by another are made again
FOLDER = "sleep-cassette"
MOST = (100, 9)  # people, and nights of each, that Sleep-EDF's names can tell apart


class Job(NamedTuple):
    """All that a night's files depend on."""

    person: int
    night: int
    epochs: int
    seed: int
    version: int = VERSION


def prepare(
    root: Path | None,
    out: Path,
    nights: int = 24,
    subjects: int = 0,
    hours: float = 8.0,
    seed: int = 0,
    minutes: float = 30.0,
    nj: int = 2,
) -> dict[str, DataDir]:
    """Write nights to `out/sleep-cassette/`, then the part `all` as `sigssl prepare sleep_edf` does.

    Args:
        root: none; there is nothing to find.
        out: folder to write to. Nights that a killed run finished are kept if they were made with the same options.
        nights: how many in all.
        subjects: of how many people; 0: of half as many as there are nights.
        hours: length of each recording, wake before and after included. Below nine hours the night passes faster, so that its whole
            course is in it.
        seed: the same seed and options give the same files byte for byte, whatever nj.
        minutes: kept before the first and after the last epoch of sleep; below 0 all is kept.
        nj: processes.

    Raises:
        UserError: numbers that make no sense; edfio is not installed.
    """
    people = subjects or -(-nights // 2)
    jobs = plan(nights, people, hours, seed)
    folder = out.absolute() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    waiting = [job for job in jobs if not done(job, folder)]
    turns = Parallel(n_jobs=max(1, nj), return_as="generator")(delayed(make)(job, folder) for job in waiting)
    for _ in tqdm(turns, total=len(waiting), desc="nights", disable=None):
        pass
    sweep(folder, jobs)
    return sleep_edf.prepare(out, out, minutes=minutes)


def plan(nights: int, people: int, hours: float, seed: int) -> list[Job]:
    """The nights to make; each person has as many as any other, or one more.

    Raises:
        UserError: numbers that make no sense.
    """
    epochs = int(hours * 3600 / EPOCH) if 0 < hours < 100 else 0
    if not (1 <= people <= min(nights, MOST[0]) and nights <= people * MOST[1] and epochs >= 20 and seed >= 0):
        raise UserError(
            f"nights {nights}, subjects {people}, hours {hours:g}, seed {seed}; expected 1 to {MOST[0]} subjects with 1 to "
            f"{MOST[1]} nights each, at least 10 minutes a night, and a seed of 0 or more."
        )
    return [Job(number % people, 1 + number // people, epochs, seed) for number in range(nights)]


def stamp(job: Job, folder: Path) -> Path:
    """The file that says that a night is whole."""
    return folder / f".SC4{job.person:02d}{job.night}.json"


def done(job: Job, folder: Path) -> bool:
    """Whether a night is there, made by this very job."""
    named = edf.names(job.seed, job.person, job.night)
    there = stamp(job, folder)
    return all((folder / name).exists() for name in (named.psg, named.hypnogram)) and (
        there.exists() and read_json(there) == job._asdict()
    )


def make(job: Job, folder: Path) -> None:
    """Make a night and write its files."""
    stamp(job, folder).unlink(missing_ok=True)
    for stale in folder.glob(f"SC4{job.person:02d}{job.night}*"):
        stale.unlink()
    traits = night.person(job.seed, job.person)
    made = night.make(traits, job.epochs, np.random.default_rng([job.seed, job.person, job.night]))
    edf.write(made, edf.names(job.seed, job.person, job.night), folder)
    write_json(stamp(job, folder), job._asdict())


def sweep(folder: Path, jobs: list[Job]) -> None:
    """Remove nights of another run, of which there were more."""
    wanted = {stamp(job, folder).name for job in jobs}
    for other in folder.glob(".SC4*.json"):
        if other.name not in wanted:
            for path in folder.glob(f"{other.stem[1:]}*"):
                path.unlink()
            other.unlink()
