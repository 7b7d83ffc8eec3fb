"""Any EEG data set in BIDS form whose `_events.tsv` hold sleep stages (bids-specification.readthedocs.io)."""

from __future__ import annotations

import re
from pathlib import Path

from sigssl.corpora.base import About, token
from sigssl.corpora.psg_tree import Recorded, write_nights
from sigssl.data.datadir import DataDir
from sigssl.errors import UserError

ABOUT = About(
    what="your EEG data set in BIDS form, stages in events.tsv; runs without events become unscored nights",
    licence="its own",
    size="any",
    example="sigssl prepare bids --root ds003768 data/sleep --task sleep",
)
RUN = re.compile(
    r"(?P<base>sub-(?P<person>[A-Za-z0-9]+)(?P<rest>(?:_[a-z]+-[A-Za-z0-9]+)*))_(?:eeg|ieeg)\.(?:edf|bdf|vhdr|set|fif)$",
    re.IGNORECASE,
)


def prepare(
    root: Path | None, out: Path, task: str = "", epoch: float = 30.0, minutes: float = 30.0, nj: int = 4
) -> dict[str, DataDir]:
    """Write the part `all`.

    Args:
        root: the data set, the folder that holds `sub-*`; `derivatives` and `sourcedata` are passed over.
        out: folder to write to.
        task: only runs of this task (`task-sleep`: sleep); all where empty.
        epoch: seconds of an epoch.
        minutes: kept before the first and after the last epoch of sleep; below 0 all is kept.
        nj: how many files are read at a time.

    Returns:
        Part -> data directory; a participant is a speaker, ids are `01-ses-1_task-sleep`.
    """
    if root is None or not root.is_dir():
        raise UserError(f"bids needs --root: the folder of a data set, with sub-* in it; {root} is none.")
    nights = []
    for path in sorted(root.glob("sub-*/**/*")):
        found = RUN.match(path.name)
        if found is None or (task and f"task-{task}" not in found["rest"].split("_")):
            continue
        person, rest = token(found["person"]), found["rest"].strip("_")
        events = path.with_name(f"{found['base']}_events.tsv")
        name = f"{person}-{rest}" if rest else person
        nights.append(Recorded(name, person, path, events if events.exists() else None, epoch))
    if not nights:
        raise UserError(f"{root}: no runs such as sub-01/eeg/sub-01_task-sleep_eeg.edf{f' of task {task}' if task else ''} in it.")
    return write_nights(out, {"all": nights}, (), minutes, nj)
