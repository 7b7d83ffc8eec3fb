"""Sleep-EDF Expanded: nights at home and in hospital (Kemp et al. 2000; physionet.org/content/sleep-edfx/1.0.0)."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from sigssl.corpora.base import About, find_root
from sigssl.corpora.psg_tree import Recorded, pair, write_nights
from sigssl.data.datadir import DataDir
from sigssl.errors import UserError
from sigssl.optional import require

log = logging.getLogger(__name__)
ABOUT = About(
    what="sleep EEG, EOG and EMG of whole nights, R&K stages: 153 cassette nights of 78 people, 44 telemetry nights of 22",
    licence="ODC-By 1.0; cite Kemp et al. 2000 and Goldberger et al. 2000",
    size="197 nights, 8 GB",
    example="sigssl prepare sleep_edf --root sleep-edfx data/sleep_edf --study cassette",
)
NAME = re.compile(r"(?P<night>(?P<person>S[CT][47]\d\d)\d)[A-Z][A-Z0-9]-(?P<kind>PSG|Hypnogram)\.(edf|EDF)$")
STUDIES = {"cassette": ("SC",), "telemetry": ("ST",), "both": ("SC", "ST")}
MEGABYTES = 50  # of a night, about


def prepare(
    root: Path | None,
    out: Path,
    study: str = "both",
    minutes: float = 30.0,
    download: bool = False,
    people: str = "",
    nj: int = 4,
) -> dict[str, DataDir]:
    """Write the part `all`; a person's nights are one speaker's utterances, so `sigssl split` keeps them together.

    Args:
        root: folder with `SC4ssNE0-PSG.edf` and `SC4ssNEC-Hypnogram.edf` files, directly or in folders below
            (`sleep-cassette/`, `sleep-telemetry/`). The two are paired by the first six letters.
        out: folder to write to.
        study: cassette (SC), telemetry (ST) or both.
        minutes: kept before the first and after the last epoch of sleep; below 0 all is kept.
        download: fetch nights of the cassette study that root lacks, through mne.datasets.sleep_physionet, which checks SHA-1 sums.
        people: which to fetch: numbers of people joined by commas, such as 0,1,5 (0 to 82; 39, 68, 69, 78 and 79 do not exist).
        nj: how many files are read at a time.

    Returns:
        Part -> data directory; ids are SC4ssN, the person is SC4ss.
    """
    if study not in STUDIES:
        raise UserError(f"study {study!r}; expected {', '.join(STUDIES)}.")
    if download:
        fetch(root, people)
    place, _ = find_root(root, "sleep_edf", ["sleep-cassette", "sleep-telemetry", "."])
    files = [path for path in sorted(place.rglob("*")) if NAME.match(path.name) and path.name[:2] in STUDIES[study]]
    if not files:
        raise UserError(f"{place}: no files such as SC4001E0-PSG.edf below it. Check --root, or add --download --people 0,1.")
    kinds = {kind: [path for path in files if f"-{kind}." in path.name] for kind in ("PSG", "Hypnogram")}
    pairs, aside = pair(kinds["PSG"], kinds["Hypnogram"], lambda path: path.name[:6])
    nights = [Recorded(name, name[:5], *paths) for name, paths in pairs.items()]
    return write_nights(out, {"all": nights}, aside, minutes, nj)


def fetch(root: Path | None, people: str) -> None:
    """Fetch both nights of people of the cassette study into `root`; licence and size are shown first.

    Raises:
        UserError: no root, or no numbers of people.
    """
    if root is None:
        raise UserError("--download needs --root: the folder to fetch into.")
    try:
        numbers = [int(number) for number in people.split(",")]
    except ValueError:
        raise UserError(f"--people {people!r}: expected numbers joined by commas, such as 0,1,5.") from None
    log.warning(
        "Sleep-EDF Expanded from physionet.org: about %d MB, SHA-1 checked by MNE, licence %s, into %s",
        2 * MEGABYTES * len(numbers),
        ABOUT.licence,
        root,
    )
    age = require("mne.datasets.sleep_physionet.age", "to fetch Sleep-EDF")
    try:
        age.fetch_data(subjects=numbers, recording=(1, 2), path=str(root), on_missing="warn")
    except (OSError, ValueError) as error:
        raise UserError(f"Sleep-EDF could not be fetched: {error}. Check the connection and run the same command again.") from error
