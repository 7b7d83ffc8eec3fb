"""The end of an extraction: the tables that join the shards, the list of what was set aside, and the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sigssl.data.datadir import DataDir
from sigssl.data.io import whole, write_table
from sigssl.errors import UserError
from sigssl.extract.journal import Journal
from sigssl.extract.shards import Bad, Outcome, Shard


@dataclass
class Summary:
    """What an extraction did.

    Attributes:
        good: utterances extracted, by earlier runs too. bad: set aside, with the reasons.
        hours: of signal in the good ones.
        notes: how many utterances needed something, by what it was.
        folder: where it all is.
    """

    folder: Path
    good: int = 0
    bad: list[Bad] = field(default_factory=list)
    hours: float = 0.0
    notes: dict[str, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """What to tell the user."""
        told = [f"{self.good} utterances, {self.hours:.2f} h of signal in {self.folder}"]
        told += [f"{count} utterances: {note}" for note, count in self.notes.items()]
        if self.bad:
            told += [f"{len(self.bad)} set aside, listed in {self.folder / 'quarantine.tsv'}:", *_reasons(self.bad)]
        return told


def finish(folder: Path, names: list[str], shards: list[Shard], journal: Journal, min_good: float) -> Summary:
    """Write `NAME.scp` for each track, `utt2num_frames` and `quarantine.tsv`.

    Args:
        folder: output folder.
        names: stems of the scp files, one per track.
        shards: all of them, each in the journal.
        journal: their outcomes.
        min_good: share of good utterances below which the result is not to be used: then no scp is written.

    Raises:
        UserError: fewer are good; the first reasons are named.
    """
    outcomes = [journal.done[shard.number] for shard in shards]
    summary = _summary(folder, outcomes)
    _write_quarantine(folder / "quarantine.tsv", summary.bad)
    total = summary.good + len(summary.bad)
    if summary.good < max(min_good * total, 1):
        for name in names:
            (folder / f"{name}.scp").unlink(missing_ok=True)
        raise UserError(
            f"only {summary.good} of {total} utterances are good, fewer than {min_good:.0%} (--min-good):\n"
            + "\n".join(_reasons(summary.bad))
            + f"\nAll reasons are in {folder / 'quarantine.tsv'}. Mend the recordings and give the same command again."
        )
    for track, name in enumerate(names):
        _write_scp(folder.resolve(), name, track, outcomes)
    write_table(folder / "utt2num_frames", {entry.id: str(entry.frames) for outcome in outcomes for entry in outcome.entries})
    return summary


def copy_data_dir(source: Path, target: Path, feats: Path) -> None:
    """Write the utterances of a data directory that are in `feats/feats.scp` to another one, with `feats.scp` and `utt2num_frames`.

    Args:
        source: a data directory.
        target: the folder to write.
        feats: the output folder of the extraction.
    """
    from sigssl.data.io import read_table

    scp = read_table(feats / "feats.scp")
    data = DataDir.read(source, allow_commands=True).subset(scp)  # nothing is run here
    data.feats = scp
    data.carried = data.carried | {"utt2num_frames": read_table(feats / "utt2num_frames")}
    data.write(target)


def _summary(folder: Path, outcomes: Iterable[Outcome]) -> Summary:
    summary, notes = Summary(folder), Counter[str]()
    for outcome in outcomes:
        summary.good += len(outcome.entries)
        summary.bad += outcome.bad
        summary.hours += outcome.seconds / 3600
        notes.update(outcome.notes)
    summary.notes = dict(notes.most_common())
    return summary


def _write_scp(folder: Path, name: str, track: int, outcomes: Iterable[Outcome]) -> None:
    """Entries are in the order of their ids within a shard, and over all but where the recordings were read from tar files."""
    entries = [(entry.id, entry.places[track]) for outcome in outcomes for entry in outcome.entries]
    entries.sort()
    with whole(folder / f"{name}.scp") as path, path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{id} {folder}/{place}\n" for id, place in entries)


def _write_quarantine(path: Path, bad: list[Bad]) -> None:
    if not bad:
        path.unlink(missing_ok=True)
        return
    with whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write("id\tfile\treason\n")
        file.writelines("\t".join(" ".join(cell.split()) for cell in line) + "\n" for line in bad)


def _reasons(bad: list[Bad], most: int = 5) -> list[str]:
    told = [f"  {one.id}: {one.reason}" for one in bad[:most]]
    return told + ([f"  ... and {len(bad) - most} more"] if len(bad) > most else [])
