"""Nights into a store: picked channels as one continuous signal in microvolts, `sigssl features` with a `signal:` section."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sigssl.data.datadir import DataDir, Utterance
from sigssl.data.edf_header import is_edf, read_header
from sigssl.data.fir import design
from sigssl.data.hypnogram import Hypnogram, mask
from sigssl.data.io import write_text
from sigssl.data.psg import PSG, Conditioning, Montage, Pick, open_psg, signal_blocks
from sigssl.data.signal import odd_scale
from sigssl.data.store import StoreInfo
from sigssl.errors import UserError
from sigssl.extract.finish import Summary, finish
from sigssl.extract.journal import Journal
from sigssl.extract.parallel import Running, run
from sigssl.extract.shard_run import write_results
from sigssl.extract.shards import Bad, Outcome, Shard, list_digest, plan
from sigssl.extract.store import ArkSink, Tracks, sweep

COLUMNS = ("id", "file", "channel", "source", "sign", "derived", "unit", "rate", "robust_sd_uv")


@dataclass(frozen=True)
class NightSignal:
    """What is stored of a night.

    Attributes:
        montage: name of a shipped montage, or a YAML file.
        channels: which of its channels, in this order; empty for all.
        sample_rate: hertz.
        highpass: lower edge of the zero-phase filter in hertz, None for none. lowpass: upper edge.
        upsample: whether channels of a lower rate are brought to this one; such a night is set aside otherwise.
        assume_unit: uV, mV, V or nV for channels that state no unit; None: such a night is set aside.
        discontinuous: EDF+D: "fill" leaves zeros in the gaps, "refuse" sets the night aside.
    """

    montage: str = "sleep_edf"
    channels: tuple[str, ...] = ()
    sample_rate: int = 100
    highpass: float | None = 0.3
    lowpass: float | None = 35.0
    upsample: bool = False
    assume_unit: str | None = None
    discontinuous: Literal["fill", "refuse"] = "fill"

    def wanted(self) -> Montage:
        """The montage of the chosen channels."""
        montage = Montage.read(self.montage)
        return montage.select(self.channels) if self.channels else montage

    def conditioning(self) -> Conditioning:
        """Rate and filter."""
        return Conditioning(float(self.sample_rate), self.highpass, self.lowpass, self.upsample)


@dataclass
class Night:
    """A night that is being stored; see :class:`sigssl.extract.shard_run.Item`.

    Attributes:
        id: utterance id. path: its file. seconds: stored.
        notes: what is worth saying; complete when all of it has been read.
        picks: the channels taken. spreads: robust standard deviations of each, a row per block.
    """

    id: str
    path: str
    seconds: float
    notes: list[str]
    picks: list[Pick]
    spreads: list[np.ndarray] = field(default_factory=list)
    gaps: list[tuple[float, float]] = field(default_factory=list)
    held: bool = False

    def about(self) -> dict[str, Any]:
        """What the journal keeps of it."""
        spread = np.median(self.spreads, axis=0).round(4).tolist() if self.spreads else [0.0] * len(self.picks)
        return {"file": self.path, "picks": [pick._asdict() for pick in self.picks], "sd": spread, "gaps": self.gaps}


@dataclass(frozen=True)
class NightJob:
    """Signals of a shard of nights into `folder/feats.N.ark`.

    Attributes:
        folder: output folder.
        what: channels, rate and filter.
    """

    folder: str
    what: NightSignal

    def __call__(self, shard: Shard) -> Outcome:
        """Do a shard."""
        return write_results(shard, self._results(shard), ArkSink(Path(self.folder), "feats", shard.number))

    def _results(self, shard: Shard) -> Iterator[Bad | tuple[Night, Iterator[Tracks]]]:
        montage = self.what.wanted()
        for utterance in shard.utterances:
            try:
                psg = open_psg(utterance.path, assume_unit=self.what.assume_unit, discontinuous=self.what.discontinuous)
                start, end = psg.span(utterance.start, utterance.end)
                gaps = [(max(a, start) - start, min(b, end) - start) for a, b in psg.gaps if a < end and b > start]
                night = Night(utterance.id, utterance.path, end - start, [], montage.pick(psg), gaps=gaps)
            except (UserError, OSError) as error:
                yield Bad(utterance.id, utterance.path, str(error))
                continue
            yield night, self._pieces(psg, night, start, end)

    def _pieces(self, psg: PSG, night: Night, start: float, end: float) -> Iterator[Tracks]:
        for rows in signal_blocks(psg, night.picks, self.what.conditioning(), start, end):
            if len(rows):
                part = rows[::7]
                night.spreads.append(np.median(np.abs(part - np.median(part, axis=0)), axis=0) / 0.6745)
                yield [rows]
        odd = [odd_scale(sd) for sd in np.median(night.spreads, axis=0).tolist()]
        told = [f"{pick.name} ({pick.source}): {what}" for pick, what in zip(night.picks, odd, strict=True) if what]
        night.notes += [note.split(" (")[0].split(";")[0] for note in psg.notes] + told


def store_nights(utterances: list[Utterance], what: NightSignal, folder: Path | str, *, running: Running | None = None) -> Summary:
    """Write `feats.scp`, `feats.N.ark` ([samples, channels], float32, microvolts), `feats.json`, `picks.tsv` and so on.

    A run that was killed goes on where it was; memory does not grow with the nights.

    Args:
        utterances: nights, sorted by id; start and end are the part that is stored.
        what: channels, rate and filter.
        folder: output folder.
        running: worker processes, progress bar and so on; by default in this process.

    Raises:
        UserError: the folder was begun with other settings or input, too few nights are good, or settings that cannot be.
    """
    folder, running = Path(folder).resolve(), running or Running()
    montage = what.wanted()
    design(float(what.sample_rate), what.highpass, what.lowpass)  # refused now, not night by night
    config = {"signal": asdict(what) | {"channels": montage.names}, "montage": montage.channels}
    head = {"name": running.source, "utterances": len(utterances), "list": list_digest(utterances)}
    shards = plan(utterances)
    journal = Journal(folder / "journal.jsonl", config, head, overwrite=running.overwrite)
    sweep(folder)
    run(NightJob(str(folder), what), shards, journal, running)
    summary = finish(folder, ["feats"], shards, journal, running.min_good)
    _write_picks(folder / "picks.tsv", [journal.done[shard.number] for shard in shards])
    rate = what.sample_rate
    StoreInfo("signal", len(montage.names), 1 / rate, rate, "uV", config, montage.names).write(folder)
    return summary


def without_hypnograms(utterances: Sequence[Utterance]) -> tuple[list[Utterance], int]:
    """The recordings among EDF files, and how many others hold annotations only."""
    kept = [utterance for utterance in utterances if not _is_hypnogram(utterance.path)]
    return kept, len(utterances) - len(kept)


def masked_stages(data: DataDir, folder: Path | str) -> tuple[dict[str, list[str]], int]:
    """Stages with `?` for every epoch that touches a gap of its night, and how many were scored before.

    Args:
        data: a data directory with stages.
        folder: of the store that was made from it.
    """
    from sigssl.extract.journal import read_outcomes

    gaps = {id: about["gaps"] for outcome in read_outcomes(Path(folder) / "journal.jsonl") for id, about in outcome.about.items()}
    made, changed = dict(data.stages), 0
    for id, stages in data.stages.items():
        masked = mask(Hypnogram(stages, data.epoch_length), [(a, b) for a, b in gaps.get(id, [])]).stages
        changed += sum(a != b for a, b in zip(stages, masked, strict=True))
        made[id] = masked
    return made, changed


def _is_hypnogram(path: str) -> bool:
    try:
        return is_edf(path) and all(signal.is_annotation for signal in read_header(path).signals)
    except UserError:
        return False


def _write_picks(path: Path, outcomes: Sequence[Outcome]) -> None:
    lines = ["\t".join(COLUMNS)]
    for outcome in outcomes:
        for id, about in sorted(outcome.about.items()):
            for pick, sd in zip(about["picks"], about["sd"], strict=True):
                derived = "yes" if pick["derived"] else "no"
                cells = (id, about["file"], pick["name"], pick["source"], f"{pick['sign']:+d}", derived, pick["unit"])
                lines.append("\t".join((*cells, f"{pick['rate']:g}", f"{sd:g}")))
    write_text(path, "".join(f"{line}\n" for line in lines))
