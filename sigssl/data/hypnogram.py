"""Hypnograms: a night's sleep stages, one per epoch, from every kind of file that they come in.

Rules, the same for all kinds of files:
    an unknown label is an error that lists all with their counts (:mod:`sigssl.data.stages`);
    movement, unscored, and what no bout covers are `?`, never wake;
    a bout must last a multiple of the epoch, but for the last, whose remainder is left out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from sigssl.data.stages import EPOCH, SLEEP, STAGES, UNSCORED, Codes
from sigssl.errors import UserError

SLACK = 0.5  # seconds by which a bout may miss the grid of epochs
LONGEST = 31 * 86400.0  # seconds of a hypnogram; beyond, an onset is not meant


class Bout(NamedTuple):
    """A stage (a token) that lasts: onset in seconds from the start of the recording, duration in seconds."""

    onset: float
    duration: float
    stage: str


@dataclass(frozen=True)
class Hypnogram:
    """A night's stages.

    Attributes:
        stages: a token of :data:`sigssl.data.stages.STAGES` or `?` for each epoch.
        epoch: seconds that each lasts.
        onset: of the first epoch, in seconds from the start of the recording.
        notes: what was left out or filled in on the way, with counts.
    """

    stages: list[str]
    epoch: float = EPOCH
    onset: float = 0.0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """The number of epochs."""
        return len(self.stages)

    @property
    def end(self) -> float:
        """Seconds from the start of the recording to the end of the last epoch."""
        return self.onset + len(self.stages) * self.epoch

    def counts(self) -> dict[str, int]:
        """Epochs of each stage and of `?`, zeros included."""
        counted = Counter(self.stages)
        return {stage: counted[stage] for stage in (*STAGES, UNSCORED)}

    def bouts(self) -> list[Bout]:
        """Runs of equal epochs."""
        made: list[Bout] = []
        for i, stage in enumerate(self.stages):
            if made and made[-1].stage == stage:
                made[-1] = made[-1]._replace(duration=made[-1].duration + self.epoch)
            else:
                made.append(Bout(self.onset + i * self.epoch, self.epoch, stage))
        return made

    def cut(self, first: int, stop: int, why: str) -> Hypnogram:
        """The epochs from `first` up to, not including, `stop`, with a note where some are left out."""
        left = len(self.stages) - max(stop - first, 0)
        notes = (*self.notes, f"{left} of {len(self.stages)} epochs left out: {why}") if left else self.notes
        return replace(self, stages=self.stages[first:stop], onset=self.onset + first * self.epoch, notes=notes)


def read_hypnogram(
    path: str | Path,
    epoch: float = EPOCH,
    scorer: int | None = None,
    start: float | datetime | None = None,
    *,
    classes: int = 5,
    codes: Codes | None = None,
) -> Hypnogram:
    """Read a hypnogram; its kind is told by what is in the file.

    Kinds: EDF+ annotations (R&K or AASM); NSRR XML; Compumedics Profusion XML; ISRUC text; a stage or code per line (text or CSV);
    `onset,duration,label` (CSV or TSV, EDFbrowser's export, BIDS `_events.tsv`); U-Sleep `.ids`; DREAMS `[Hypnogram]` in steps of
    5 s, of which an epoch takes the stage of the most steps, of equally many the one that comes first.

    Args:
        path: the file.
        epoch: seconds of an epoch. One that the file itself states must be the same.
        scorer: where two scored the night: ISRUC's `N_1.txt` and `N_2.txt` must agree with it, and a table with several columns
            of stages gives this one, from 1.
        start: what the file's zero is: seconds into the recording; or the recording's start, for files with times of day.
        classes: with 3 or 2, undivided NREM sleep is accepted.
        codes: what integers mean, see :func:`sigssl.data.stages.parse_codes`.

    Raises:
        UserError: missing or damaged, unknown kind, unknown labels, bouts that do not fit the epoch or contradict one another.
    """
    from sigssl.data import hypnogram_edf, hypnogram_text, hypnogram_xml
    from sigssl.data.edf_header import is_edf

    path = Path(path)
    if not epoch > 0 or not math.isfinite(epoch):
        raise UserError(f"epoch {epoch}: expected seconds above 0.")
    if not path.is_file():
        raise UserError(f"{path}: no such hypnogram.")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: is empty (0 bytes). Fetch it again.")
    if is_edf(path):
        made = hypnogram_edf.read(path, epoch, classes)
    elif hypnogram_xml.is_xml(path):
        made = hypnogram_xml.read(path, epoch, classes)
    else:
        made = hypnogram_text.read(path, epoch, scorer, start, classes, codes)
    shift = float(start) if isinstance(start, (int, float)) else 0.0
    return replace(made, onset=made.onset + shift)


def from_bouts(bouts: Iterable[Bout], epoch: float, where: str, notes: Sequence[str] = ()) -> Hypnogram:
    """Epochs from bouts: the grid begins with the first bout.

    Args:
        bouts: in any order.
        epoch: seconds.
        where: the file, for messages.
        notes: what is known already.

    Raises:
        UserError: none; bouts off the grid by more than 0.5 s; two stages for an epoch; what cannot be meant as a night.
    """
    ordered = sorted(bout for bout in bouts if bout.duration > 0)
    if not ordered:
        raise UserError(f"{where}: holds no sleep stage that lasts. Check that it is a hypnogram.")
    onset, end = ordered[0].onset, max(bout.onset + bout.duration for bout in ordered)
    if not -LONGEST < onset <= end < LONGEST:
        raise UserError(f"{where}: its stages go from {onset:g} s to {end:g} s, which is no night. The file is damaged.")
    stages: list[str | None] = [None] * math.floor((end - onset + SLACK) / epoch)
    told = list(notes)
    for bout in ordered:
        first, stop = (bout.onset - onset) / epoch, (bout.onset + bout.duration - onset) / epoch
        last = bout.onset + bout.duration == end
        _check_grid(bout, first, stop, epoch, where, ordered, last)
        place = slice(round(first), min(round(stop) if not last else math.floor(stop + SLACK / epoch), len(stages)))
        other = next((there for there in stages[place] if there not in (None, bout.stage)), None)
        if other is not None:
            raise UserError(
                f"{where}: the epochs from {bout.onset:g} s on are scored {bout.stage} and {other}. If two people scored the "
                f"night, keep one of them in the file."
            )
        stages[place] = [bout.stage] * len(stages[place])
    holes = sum(stage is None for stage in stages)
    if holes:
        told.append(f"{holes} epochs are in no bout and stay unscored")
    remainder = end - onset - len(stages) * epoch
    if remainder > SLACK:
        told.append(f"the last {remainder:g} s are shorter than an epoch and left out")
    return Hypnogram([stage or UNSCORED for stage in stages], epoch, onset, tuple(told))


def _check_grid(bout: Bout, first: float, stop: float, epoch: float, where: str, bouts: Sequence[Bout], last: bool) -> None:
    slack = SLACK / epoch
    if abs(first - round(first)) <= slack and (last or abs(stop - round(stop)) <= slack):
        return
    lengths = [round(each.duration) for each in bouts[:-1]]
    common = math.gcd(*lengths) if lengths else 0
    odd = sum(abs(each.duration / epoch - round(each.duration / epoch)) > slack for each in bouts)
    hint = f" All last a multiple of {common} s: is that the epoch?" if 5 <= common != epoch else ""
    raise UserError(
        f"{where}: the bout of {bout.stage} at {bout.onset:g} s ({bout.duration:g} s) does not fit epochs of {epoch:g} s from the "
        f"first bout on; {odd} of {len(bouts)} bouts are no multiple.{hint} Give the epoch in which the night was scored."
    )


def trim(hypnogram: Hypnogram, minutes: float = 30.0) -> Hypnogram:
    """Keep `minutes` before the first and after the last epoch of sleep (N1, N2, N3, R); `?` and movement do not count as sleep.

    A night without sleep stays as it is. The notes say how many epochs were left out.
    """
    asleep = [i for i, stage in enumerate(hypnogram.stages) if stage in SLEEP]
    if not asleep:
        return replace(hypnogram, notes=(*hypnogram.notes, "no epoch of sleep, so nothing was trimmed"))
    margin = round(minutes * 60 / hypnogram.epoch)
    first, stop = max(asleep[0] - margin, 0), min(asleep[-1] + 1 + margin, len(hypnogram.stages))
    return hypnogram.cut(first, stop, f"farther than {minutes:g} min from the first or last epoch of sleep")


def overlap(hypnogram: Hypnogram, duration: float) -> Hypnogram:
    """The epochs that lie wholly within a recording of `duration` seconds; the notes count what either lacks.

    Raises:
        UserError: none does.
    """
    first = max(math.ceil((-hypnogram.onset - SLACK) / hypnogram.epoch), 0)
    stop = min(math.floor((duration - hypnogram.onset + 1e-6) / hypnogram.epoch), len(hypnogram))
    if stop <= first:
        raise UserError(
            f"no epoch of the hypnogram ({hypnogram.onset:g} s to {hypnogram.end:g} s) lies within the recording of "
            f"{duration:g} s: do the two belong together?"
        )
    made = hypnogram.cut(first, stop, f"outside of the recording of {duration:g} s")
    made = replace(made, onset=max(made.onset, 0.0))
    unscored = duration - made.end + made.onset
    if unscored >= hypnogram.epoch:
        made = replace(made, notes=(*made.notes, f"{unscored:g} s of the recording are not in the hypnogram"))
    return made


def mask(hypnogram: Hypnogram, gaps: Iterable[tuple[float, float]]) -> Hypnogram:
    """Unscored (`?`) in place of every epoch that touches a gap of the recording, with a note that counts them.

    Args:
        hypnogram: the stages.
        gaps: (start, end) in seconds from the start of the recording, as :attr:`sigssl.data.psg.PSG.gaps`.
    """
    stages, epoch = list(hypnogram.stages), hypnogram.epoch
    touched: set[int] = set()
    for start, end in gaps:
        first = max(math.floor((start - hypnogram.onset) / epoch), 0)
        touched |= set(range(first, min(math.ceil((end - hypnogram.onset) / epoch), len(stages))))
    for i in touched:
        stages[i] = UNSCORED
    notes = (
        (*hypnogram.notes, f"{len(touched)} epochs touch a gap of the recording and are unscored") if touched else hypnogram.notes
    )
    return replace(hypnogram, stages=stages, notes=notes)
