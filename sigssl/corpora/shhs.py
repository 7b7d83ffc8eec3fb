"""Sleep Heart Health Study: two visits of adults, home polysomnography (Quan et al. 1997; sleepdata.org/datasets/shhs)."""

from __future__ import annotations

import re
from pathlib import Path

from sigssl.corpora.base import About, find_root
from sigssl.corpora.psg_tree import Recorded, pair, write_nights
from sigssl.data.datadir import DataDir
from sigssl.errors import UserError

ABOUT = About(
    what="home polysomnography of adults over 40, C4-A1 and C3-A2 at 125 Hz, stages as XML; other NSRR sets laid out so",
    licence="NSRR data use agreement; asked for at sleepdata.org",
    size="5793 and 2651 nights, 370 GB",
    example="sigssl prepare shhs --root shhs data/shhs --visits shhs1",
)
NIGHT = re.compile(
    r"(?P<night>(?P<study>[a-z]+\d*(?:-visit\d+)?)-(?P<person>[^-]+?))(?:-(?:nsrr|profusion))?\.(?:edf|xml)$", re.IGNORECASE
)
KINDS = {"nsrr": "-nsrr.xml", "profusion": "-profusion.xml"}


def prepare(
    root: Path | None, out: Path, visits: str = "found", hypnograms: str = "nsrr", minutes: float = 30.0, nj: int = 4
) -> dict[str, DataDir]:
    """Write one part per visit (`shhs1`, `shhs2`), and `all` where there are several.

    Args:
        root: folder with `polysomnography/edfs/shhs1/shhs1-200001.edf` and
            `polysomnography/annotations-events-nsrr/shhs1/shhs1-200001-nsrr.xml`; any depth will do.
        out: folder to write to.
        visits: names joined by commas, `found` for all.
        hypnograms: nsrr (`-nsrr.xml`) or profusion (`-profusion.xml`).
        minutes: kept before the first and after the last epoch of sleep; below 0 all is kept.
        nj: how many files are read at a time.

    Returns:
        Part -> data directory; ids are `person-visit`, so that both visits of a person are one speaker's.
    """
    if hypnograms not in KINDS:
        raise UserError(f"hypnograms {hypnograms!r}; expected {' or '.join(KINDS)}.")
    place, _ = find_root(root, "shhs", ["polysomnography", "edfs", "."])
    wanted = None if visits == "found" else [name.strip() for name in visits.split(",")]
    files = [path for path in sorted(place.rglob("*")) if path.suffix.lower() in (".edf", ".xml") and chosen(path, wanted)]
    recordings = [path for path in files if path.suffix.lower() == ".edf"]
    if not recordings:
        raise UserError(
            f"{place}: no recordings such as shhs1-200001.edf below it{f' of {visits}' if wanted else ''}. Check --root."
        )
    stages = [path for path in files if path.name.lower().endswith(KINDS[hypnograms])]
    pairs, aside = pair(recordings, stages, identifier)
    nights: dict[str, list[Recorded]] = {}
    for name, paths in pairs.items():
        study, _, person = name.rpartition("-")
        nights.setdefault(study, []).append(Recorded(f"{person}-{study}", person, *paths))
    parts = nights if len(nights) == 1 else {"all": [night for some in nights.values() for night in some], **nights}
    return write_nights(out, parts, aside, minutes, nj)


def identifier(path: Path) -> str | None:
    """`shhs1-200001` of both files of a night."""
    match = NIGHT.match(path.name)
    return match["night"].lower() if match else None


def chosen(path: Path, visits: list[str] | None) -> bool:
    """Whether a file belongs to one of the visits; all do where None are named."""
    match = NIGHT.match(path.name)
    return visits is None or (match is not None and match["study"].lower() in visits)
