"""DREAMS: clinical nights and excerpts, University of Mons and ULB (Devuyst et al. 2011; zenodo.org/record/2650142)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from sigssl.corpora.base import About, find_root
from sigssl.corpora.edf import write_edf
from sigssl.corpora.psg_tree import Aside, Recorded, write_nights
from sigssl.data.datadir import DataDir
from sigssl.errors import UserError

ABOUT = About(
    what="clinical sleep EEG with stages in 5-s steps: 20 nights (Subjects, Patients) or 8 excerpts of 30 min (Sleep Spindles)",
    licence="as published with each database; the excerpts: attribution, non-commercial, no adaptations",
    size="20 nights, 3 GB; excerpts 4 h, 0.1 GB",
    example="sigssl prepare dreams --root DatabaseSpindles data/dreams",
)
SIGNALS = re.compile(r"(?P<id>(?P<what>excerpt|subject|patient)(?P<number>\d+))\.(?P<kind>edf|npz)$", re.IGNORECASE)
RULES = {"rk": "R&K", "aasm": "AASM"}


def prepare(
    root: Path | None, out: Path, rules: str = "aasm", epoch: float = 30.0, minutes: float = 30.0, nj: int = 4
) -> dict[str, DataDir]:
    """Write the part `all`.

    Args:
        root: folder with `excerpt1.edf` and `Hypnogram_excerpt1.txt`, or `subject1.edf` and `HypnogramAASM_subject1.txt`. The
            hypnograms may lie in a folder `annotations` too. An excerpt without EDF may be an `.npz` with `signal_uV`, `fs` and
            `channel`: it is written as EDF to `out/edf`, in steps of its range / 65,535.
        out: folder to write to.
        rules: of the databases that were scored by both: aasm or rk.
        epoch: seconds of an epoch, a multiple of 5.
        minutes: kept before the first and after the last epoch of sleep; below 0 all is kept.
        nj: how many files are read at a time.

    Returns:
        Part -> data directory; each excerpt is another person. An epoch of 30 s takes the stage of most of its 5-s steps.
    """
    if rules not in RULES:
        raise UserError(f"rules {rules!r}; expected aasm or rk.")
    place, _ = find_root(root, "sleep/dreams_spindles", ["DatabaseSpindles", "DatabaseSubjects", "DatabasePatients", "."])
    files: dict[str, dict[str, Path]] = {}
    for path in sorted(place.rglob("*")):
        if found := SIGNALS.match(path.name):
            files.setdefault(found["id"].lower(), {})[found["kind"].lower()] = path
    if not files:
        raise UserError(f"{place}: no files such as excerpt1.edf or subject1.edf below it. Check --root.")
    nights, aside = [], []
    for name, kinds in files.items():
        path = kinds.get("edf") or kinds["npz"]
        stages = hypnogram(path, name, rules)
        if stages is None:
            aside.append(Aside(name, path, f"no hypnogram of {name} beside it or in annotations/"))
            continue
        nights.append(Recorded(name, name, path if "edf" in kinds else converted(path, out.absolute() / "edf"), stages, epoch))
    return write_nights(out, {"all": nights}, aside, minutes, nj)


def hypnogram(path: Path, name: str, rules: str) -> Path | None:
    """The hypnogram of a recording: beside it or in `annotations`, `Hypnogram_NAME.txt` or `HypnogramAASM_NAME.txt`."""
    names = (f"Hypnogram_{name}.txt", f"Hypnogram{RULES[rules]}_{name}.txt")
    places = [folder / known for folder in (path.parent, path.parent / "annotations") for known in names]
    return next((there for there in places if there.exists()), None)


def converted(path: Path, folder: Path) -> Path:
    """The EDF file of an excerpt that came as arrays, written unless it is there and newer.

    Raises:
        UserError: the arrays are not those of an excerpt.
    """
    target = folder / f"{path.stem}.edf"
    if target.exists() and target.stat().st_mtime >= path.stat().st_mtime:
        return target
    with np.load(path) as arrays:
        if not {"signal_uV", "fs", "channel"} <= set(arrays):
            raise UserError(f"{path}: holds {', '.join(arrays)}; expected signal_uV, fs and channel.")
        write_edf(target, [str(arrays["channel"])], arrays["signal_uV"][None], float(arrays["fs"]))
    return target
