"""ISRUC-Sleep: clinical nights of 126 recordings, each scored by two people (Khalighi et al. 2016; sleeptight.isr.uc.pt)."""

from __future__ import annotations

import re
from pathlib import Path

from sigssl.corpora.base import About, find_root
from sigssl.corpora.psg_tree import Aside, Recorded, write_nights
from sigssl.data.datadir import DataDir
from sigssl.errors import UserError

ABOUT = About(
    what="clinical polysomnography at 200 Hz, two scorers: 100 patients, 8 patients twice, 10 healthy people",
    licence="free for research, see sleeptight.isr.uc.pt; cite Khalighi et al. 2016",
    size="126 nights, 60 GB",
    example="sigssl prepare isruc --root ISRUC-Sleep data/isruc --scorer 1",
)
GROUP = re.compile(r"(?:sub)?group[ _-]?(?P<number>III|II|I|3|2|1)$", re.IGNORECASE)
NUMBERS = {"I": "1", "II": "2", "III": "3"}


def prepare(root: Path | None, out: Path, scorer: int = 0, minutes: float = 30.0, nj: int = 4) -> dict[str, DataDir]:
    """Write one part per subgroup (`group1` ...), and `all` where there are several.

    Args:
        root: folder with `subgroupI/8/8.rec` and `8_1.txt`, `8_2.txt` beside it; of subgroup II `subgroupII/3/1/1.rec`, where 3 is
            the person and 1 the night. `.edf` is known too.
        out: folder to write to.
        scorer: whose stages: 1 or 2; there is no default, since papers differ in it.
        minutes: kept before the first and after the last epoch of sleep; below 0 all is kept.
        nj: how many files are read at a time.

    Returns:
        Part -> data directory; ids are `group_person-night`.
    """
    if scorer not in (1, 2):
        raise UserError("isruc was scored by two people: give --scorer 1 or --scorer 2 (results are not comparable between them).")
    place, _ = find_root(root, "isruc", ["subgroupI", "subgroupII", "subgroupIII", "."])
    recordings = sorted(path for path in place.rglob("*") if path.suffix.lower() in (".rec", ".edf") and path.stem.isdigit())
    if not recordings:
        raise UserError(f"{place}: no recordings such as subgroupI/8/8.rec below it. Check --root, and unpack the .rar files.")
    parts: dict[str, list[Recorded]] = {}
    aside: list[Aside] = []
    for path in recordings:
        group, person, night = who(path, place)
        name = f"isruc{group}_{person}"
        scored = path.with_name(f"{path.stem}_{scorer}.txt")
        if scored.exists():
            parts.setdefault(f"group{group}", []).append(Recorded(f"{name}-{night}", name, path, scored, scorer=scorer))
        else:
            aside.append(Aside(f"{name}-{night}", path, f"no hypnogram {scored.name} beside it"))
    if not parts:
        raise UserError(f"{place}: {len(recordings)} recordings, but none has a hypnogram such as 8_{scorer}.txt beside it.")
    if len(parts) > 1:
        parts = {"all": [night for some in parts.values() for night in some], **parts}
    return write_nights(out, parts, aside, minutes, nj)


def who(path: Path, place: Path) -> tuple[str, str, str]:
    """Group, person and night of a recording, from its folders: `subgroupII/3/1/1.rec` is the first night of person 3."""
    folders = [place.name, *path.relative_to(place).parts[:-1]]
    at = next((n for n, name in enumerate(folders) if GROUP.match(name)), None)
    group = "1" if at is None else NUMBERS.get((found := GROUP.match(folders[at]))["number"].upper(), found["number"])  # type: ignore[index]
    inside = [name for name in folders[1 if at is None else at + 1 :] if name.isdigit()]
    person = inside[0] if inside else path.stem
    return group, f"{int(person):03d}", path.stem if len(inside) > 1 else "1"
