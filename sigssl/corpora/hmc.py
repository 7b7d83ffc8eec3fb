"""Haaglanden Medisch Centrum: 151 clinical nights (Alvarez-Estevez & Rijsman 2021; physionet.org/content/hmc-sleep-staging)."""

from __future__ import annotations

import re
from pathlib import Path

from sigssl.corpora.base import About, find_root
from sigssl.corpora.psg_tree import Recorded, pair, write_nights
from sigssl.data.datadir import DataDir
from sigssl.errors import UserError

ABOUT = About(
    what="151 clinical nights of 151 people at 256 Hz, four EEG derivations, EOG, EMG, ECG, AASM stages",
    licence="CC BY 4.0",
    size="151 nights, 17 GB",
    example="sigssl prepare hmc --root hmc-sleep-staging data/hmc",
)
NAME = re.compile(r"(?P<id>SN\d{3})(?P<kind>_sleepscoring)?\.edf$", re.IGNORECASE)


def prepare(root: Path | None, out: Path, minutes: float = 30.0, nj: int = 4) -> dict[str, DataDir]:
    """Write the part `all`.

    Args:
        root: folder with `recordings/SN001.edf` and `recordings/SN001_sleepscoring.edf`, at any depth.
        out: folder to write to.
        minutes: kept before the first and after the last epoch of sleep; below 0 all is kept.
        nj: how many files are read at a time.

    Returns:
        Part -> data directory; ids are SN001 ..., each another person.
    """
    place, _ = find_root(root, "hmc", ["recordings", "."])
    files = {path: found for path in sorted(place.rglob("*")) if (found := NAME.match(path.name))}
    recordings = [path for path, found in files.items() if not found["kind"]]
    if not recordings:
        raise UserError(f"{place}: no files such as SN001.edf below it. Check --root.")
    pairs, aside = pair(recordings, [p for p, found in files.items() if found["kind"]], lambda path: path.name[:5].upper())
    return write_nights(out, {"all": [Recorded(name, name, *paths) for name, paths in pairs.items()]}, aside, minutes, nj)
