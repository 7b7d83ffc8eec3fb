"""EDF and BDF recordings, read record by record: only the channels asked for, at their own rates, whatever the others have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32

from sigssl.data.edf_annotations import Annotation, read_annotations, record_onsets
from sigssl.data.edf_header import EdfHeader, EdfSignal, read_header
from sigssl.data.psg_base import LARGEST, PSG, Channel
from sigssl.errors import UserError

CHUNK = 1 << 22  # bytes of data records that are read at once
JITTER = 0.01  # seconds by which the onset of a record may be off without that being a gap
LONGEST_GAPS = 86400.0  # seconds in all; beyond, an onset is not meant


class Run(NamedTuple):
    """Data records without a gap between them: onset of the first in seconds, its number, and how many they are."""

    onset: float
    first: int
    records: int


class EdfPSG(PSG):
    """An EDF, EDF+, BDF or BDF+ file.

    Args:
        path: the file.
        assume_unit: of channels that state none.
        discontinuous: what to do with EDF+D: "fill" puts every record where its onset says, "refuse" is an error.

    Raises:
        UserError: no EDF, damaged beyond repair, or without data.
    """

    def __init__(self, path: Path, assume_unit: str | None, discontinuous: Literal["fill", "refuse"]) -> None:
        header = self.header = read_header(path)
        signals = [signal for signal in header.signals if not signal.is_annotation and signal.samples]
        if not signals:
            raise UserError(f"{path}: holds annotations but no signal. Is it the hypnogram of a recording beside it?")
        if not header.records:
            raise UserError(f"{path}: holds no whole data record (only a header, or cut off behind it). Fetch it again.")
        self._signals = {signal.name: signal for signal in signals}
        if len(self._signals) < len(signals):
            raise UserError(f"{path}: two of its channels cannot be told apart by their labels. The header is damaged.")
        channels = [Channel(signal.name, header.rate(signal), signal.unit) for signal in signals]
        notes = list(header.notes)
        self.runs = [Run(0.0, 0, header.records)]
        if header.plus == "D":
            self.runs = _runs(header)
            if len(self.runs) > 1 and discontinuous == "refuse":
                raise UserError(
                    f"{path}: is discontinuous (EDF+D) with {len(self.runs) - 1} gaps, and those were to be refused. Read it with "
                    f"discontinuous='fill', or export it without interruptions."
                )
        ends = [run.onset + run.records * header.seconds for run in self.runs]
        gaps = [(end, following.onset) for end, following in zip(ends, self.runs[1:], strict=False)]
        if gaps:
            notes.append(f"{len(gaps)} gaps of {sum(b - a for a, b in gaps):g} s in all; filled with zeros")
        super().__init__(path, channels, ends[-1], header.start, gaps, notes, assume_unit)

    @cached_property
    def annotations(self) -> list[Annotation]:
        """See :class:`PSG`."""
        found, notes = read_annotations(self.header)
        self.notes += notes
        return found

    def read_many(
        self, names: Sequence[str], start: float = 0.0, end: float | None = None
    ) -> list[Float32[np.ndarray, " samples"]]:
        """See :class:`PSG`."""
        start, end = self.span(start, end)
        scales = [self._scale(name) for name in names]
        signals = [self._signals[name] for name in names]
        firsts = [round(start * self.header.rate(signal)) for signal in signals]
        made = [
            np.zeros(max(round(end * self.header.rate(signal)) - first, 0), np.float32)
            for signal, first in zip(signals, firsts, strict=True)
        ]
        seconds = self.header.seconds
        with self._opened() as file:
            for run in self.runs:
                low = max(math.floor((start - run.onset) / seconds - 1e-9), 0)
                high = min(math.ceil((end - run.onset) / seconds + 1e-9), run.records)
                step = max(CHUNK // (self.header.width * self.header.record_samples), 1)
                for record in range(low, high, step):
                    raw = self._raw(file, run.first + record, min(step, high - record))
                    for signal, first, (gain, offset), out in zip(signals, firsts, scales, made, strict=True):
                        at = round(run.onset * self.header.rate(signal)) + record * signal.samples - first
                        _place(out, at, self._digital(raw, signal), gain, offset)
        return made

    def _opened(self) -> FileIO:
        try:
            return FileIO(self.path)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be opened: {error.strerror}.") from None

    def _raw(self, file: FileIO, record: int, count: int) -> np.ndarray:
        """The bytes of `count` data records."""
        size = self.header.width * self.header.record_samples
        made = np.empty(count * size, np.uint8)
        left = made.data
        try:
            file.seek(self.header.size + record * size)
            while left and (got := file.readinto(left)):
                left = left[got:]
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read: {error.strerror}.") from None
        if left:
            raise UserError(f"{self.path}: became shorter while it was read. Fetch it again.")
        return made.reshape(count, size)

    def _digital(self, raw: np.ndarray, signal: EdfSignal) -> np.ndarray:
        """Integers [records, samples] of a signal."""
        if self.header.width == 2:
            return raw.view("<i2")[:, signal.offset : signal.offset + signal.samples]
        part = raw.reshape(len(raw), -1, 3)[:, signal.offset : signal.offset + signal.samples]
        wide = np.zeros((*part.shape[:2], 4), np.uint8)
        wide[..., 1:] = part
        return wide.view("<i4")[..., 0] >> 8  # the sign comes along

    def _scale(self, name: str) -> tuple[float, float]:
        """Gain and offset that make microvolts of a channel's integers."""
        channel = self.channel(name)
        signal, unit = self._signals[name], self.microvolts(channel)
        low, high = signal.digital or (0.0, 0.0)
        bottom, top = signal.physical or (0.0, 0.0)
        if low == high or bottom == top:
            raise UserError(
                f"{self.path}: channel {name!r} has no scale: digital {low:g} to {high:g}, physical {bottom:g} to {top:g}. "
                f"The header is damaged; export the file anew."
            )
        gain = (top - bottom) / (high - low) * unit
        offset = bottom * unit - low * gain
        full = 2.0 ** (8 * self.header.width - 1)
        if not abs(gain) * full + abs(offset) < LARGEST:
            raise UserError(f"{self.path}: channel {name!r} would reach {abs(gain) * full:g} uV. The header is damaged.")
        return gain, offset


def _place(out: np.ndarray, at: int, digital: np.ndarray, gain: float, offset: float) -> None:
    """Write scaled samples to `out` from index `at` on; what falls outside is dropped."""
    samples = digital.reshape(-1)
    low, high = max(-at, 0), min(len(samples), len(out) - at)
    if high > low:
        part = out[at + low : at + high]
        np.multiply(samples[low:high], np.float32(gain), out=part, casting="unsafe")
        part += np.float32(offset)


def _runs(header: EdfHeader) -> list[Run]:
    """Runs of records that follow one another, by their stated onsets."""
    onsets = record_onsets(header)
    runs: list[Run] = []
    for number, onset in enumerate(onsets.tolist()):
        if runs:
            due = runs[-1].onset + runs[-1].records * header.seconds
            if onset < due - max(JITTER, 0.01 * header.seconds):
                raise UserError(
                    f"{header.path}: data record {number} begins at {onset:g} s, before the one ahead of it has ended ({due:g} s). "
                    f"The file is damaged; export it anew."
                )
            if onset <= due + JITTER:
                runs[-1] = runs[-1]._replace(records=runs[-1].records + 1)
                continue
        runs.append(Run(onset, number, 1))
    missing = runs[-1].onset + runs[-1].records * header.seconds - header.records * header.seconds
    if missing > LONGEST_GAPS:
        raise UserError(f"{header.path}: {missing / 3600:.1f} h are missing between its data records. Cut it into recordings.")
    return runs
