"""What every reader of polysomnograms offers: channels at their own rates, in microvolts, on the true time axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from sigssl.data.edf_annotations import Annotation
from sigssl.errors import UserError, nearest

# unit as it is written, without case -> microvolts
MICROVOLTS = {
    **dict.fromkeys(("uv", "µv", "μv", "microvolt", "microvolts", "uvolt"), 1.0),
    **dict.fromkeys(("mv", "millivolt", "millivolts"), 1e3),
    **dict.fromkeys(("v", "volt", "volts"), 1e6),
    **dict.fromkeys(("nv", "nanovolt", "nanovolts"), 1e-3),
}
LARGEST = 1e12  # microvolts at full scale; beyond, the header is wrong


class Channel(NamedTuple):
    """A channel: its name (`LABEL#INDEX` where several have the label), samples per second, unit as the file states it."""

    name: str
    rate: float
    unit: str


class PSG:
    """A recording.

    Attributes:
        path: the file.
        channels: all of them, those that are no voltages included.
        duration: seconds from the first sample to the end of the last, gaps included.
        start: date and time of the first sample, None where the file does not say.
        gaps: (start, end) in seconds of what was not recorded; read as zeros.
        notes: what was out of order.
    """

    def __init__(
        self,
        path: Path,
        channels: list[Channel],
        duration: float,
        start: datetime | None,
        gaps: list[tuple[float, float]],
        notes: list[str],
        assume_unit: str | None,
    ) -> None:
        if assume_unit is not None and assume_unit.casefold() not in MICROVOLTS:
            raise UserError(f"assume_unit {assume_unit!r}: expected uV, mV, V or nV.")
        self.path = path
        self.channels = channels
        self.duration = duration
        self.start = start
        self.gaps = gaps
        self.notes = notes
        self.assume_unit = assume_unit

    @property
    def annotations(self) -> list[Annotation]:
        """What was noted in the file, in seconds from the first sample; read when asked for."""
        raise NotImplementedError

    def read_many(
        self, names: Sequence[str], start: float = 0.0, end: float | None = None
    ) -> list[Float32[np.ndarray, " samples"]]:
        """Several channels, each at its own rate, in one pass over the file.

        Args:
            names: as in `channels`.
            start: seconds.
            end: seconds, None to the end; beyond it is cut.

        Returns:
            Microvolts, float32, of each; gaps are zeros.

        Raises:
            UserError: no such channel, or one that is no voltage or does not say its unit or scale; a damaged file.
        """
        raise NotImplementedError

    def read(self, name: str, start: float = 0.0, end: float | None = None) -> Float32[np.ndarray, " samples"]:
        """One channel; see :meth:`read_many`."""
        return self.read_many([name], start, end)[0]

    def blocks(
        self, names: Sequence[str], seconds: float = 60.0, start: float = 0.0, end: float | None = None
    ) -> Iterator[list[Float32[np.ndarray, " samples"]]]:
        """Several channels piece by piece; joined they equal :meth:`read_many`."""
        stop = self.duration if end is None else min(end, self.duration)
        count = max(round((stop - start) / seconds), 1)
        edges = [start + i * seconds for i in range(count)] + [stop]
        for first, last in pairwise(edges):
            yield self.read_many(names, first, last)

    def channel(self, name: str) -> Channel:
        """A channel by its name.

        Raises:
            UserError: there is none, or several have the label.
        """
        for channel in self.channels:
            if channel.name == name:
                return channel
        names = [channel.name for channel in self.channels]
        several = [there for there in names if there.rsplit("#", 1)[0] == name]
        if several:
            raise UserError(f"{self.path}: {len(several)} channels are called {name!r}; say which: {', '.join(several)}.")
        raise UserError(f"{self.path}: no channel {name!r}.{nearest(name, names)} There are: {', '.join(names)}.")

    def microvolts(self, channel: Channel) -> float:
        """What one of a channel's units is in microvolts.

        Raises:
            UserError: it is no voltage, or nothing says what it is.
        """
        unit = channel.unit or self.assume_unit or ""
        if not unit:
            raise UserError(
                f"{self.path}: channel {channel.name!r} does not say its unit. If you know it, give it as assume_unit "
                f"(signal.assume_unit=uV, --assume-unit uV); a wrong one makes every amplitude wrong by powers of ten."
            )
        scale = MICROVOLTS.get(unit.replace(" ", "").casefold())
        if scale is None:
            raise UserError(f"{self.path}: channel {channel.name!r} is in {unit!r}, which is no voltage. Pick another channel.")
        return scale

    def span(self, start: float, end: float | None) -> tuple[float, float]:
        """A part of the recording, its end cut to what is there.

        Raises:
            UserError: it begins outside of the recording, or ends before it begins.
        """
        stop = self.duration if end is None else min(end, self.duration)
        if not 0 <= start < stop:
            raise UserError(
                f"{self.path}: the part from {start:g} s to {'the end' if end is None else f'{end:g} s'} is outside of the "
                f"recording, which lasts {self.duration:g} s."
            )
        return start, stop
