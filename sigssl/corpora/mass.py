"""Montreal Archive of Sleep Studies, cohort 1: 200 nights in five subsets (O'Reilly et al. 2014; ceams-carsm.ca/mass)."""

from __future__ import annotations

import re
from pathlib import Path

from sigssl.corpora.base import About, find_root
from sigssl.corpora.psg_tree import Recorded, pair, write_nights
from sigssl.data.datadir import DataDir
from sigssl.errors import UserError

ABOUT = About(
    what="200 nights of 200 people at 256 Hz; SS1 and SS3 AASM in 30-s epochs, SS2, SS4 and SS5 R&K in 20-s epochs",
    licence="research agreement with CEAMS; asked for at ceams-carsm.ca/mass",
    size="200 nights, 250 GB",
    example="sigssl prepare mass --root MASS data/mass --subsets SS3",
)
NAME = re.compile(r"(?P<id>\d\d-(?P<subset>\d\d)-\d{4})[ _](?P<kind>PSG|Base)\.edf$", re.IGNORECASE)
EPOCHS = {"SS1": 30.0, "SS2": 20.0, "SS3": 30.0, "SS4": 20.0, "SS5": 20.0}


def prepare(root: Path | None, out: Path, subsets: str = "found", minutes: float = 30.0, nj: int = 4) -> dict[str, DataDir]:
    """Write one part per subset (`SS1` ... `SS5`), whose epochs differ in length.

    Args:
        root: folder with files such as `01-03-0001 PSG.edf` and `01-03-0001 Base.edf` (the stages), at any depth.
        out: folder to write to.
        subsets: names joined by commas, `found` for all.
        minutes: kept before the first and after the last epoch of sleep; below 0 all is kept.
        nj: how many files are read at a time.

    Returns:
        Part -> data directory; ids are `01_03_0001`, each another person.
    """
    wanted = list(EPOCHS) if subsets == "found" else [name.strip() for name in subsets.split(",")]
    if unknown := [name for name in wanted if name not in EPOCHS]:
        raise UserError(f"no subset {unknown[0]!r}; known are {', '.join(EPOCHS)} and found.")
    place, _ = find_root(root, "mass", ["SS1", "SS3", "."])
    files = [path for path in sorted(place.rglob("*")) if (found := NAME.match(path.name)) and subset_of(found) in wanted]
    kinds = {kind: [path for path in files if NAME.match(path.name)["kind"].lower() == kind] for kind in ("psg", "base")}  # type: ignore[index]
    if not kinds["psg"]:
        raise UserError(f"{place}: no files such as '01-03-0001 PSG.edf' of {', '.join(wanted)} below it. Check --root.")
    pairs, aside = pair(kinds["psg"], kinds["base"], lambda path: path.name[:10])
    parts: dict[str, list[Recorded]] = {}
    for name, paths in pairs.items():
        subset, person = f"SS{int(name[3:5])}", name.replace("-", "_")
        parts.setdefault(subset, []).append(Recorded(person, person, *paths, epoch=EPOCHS[subset]))
    return write_nights(out, parts, aside, minutes, nj)


def subset_of(found: re.Match[str]) -> str:
    """`SS3` of a file's name."""
    return f"SS{int(found['subset'])}"
