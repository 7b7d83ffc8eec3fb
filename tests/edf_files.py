"""EDF and BDF files byte by byte, right or wrong in any way that a test wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass
class Signal:
    """A signal: digital samples, or annotations as raw bytes per data record."""

    label: str | bytes
    samples: np.ndarray | list[bytes]
    per_record: int
    unit: str | bytes = "uV"
    physical: tuple[float, float] = (-3276.8, 3276.7)
    digital: tuple[int, int] = (-32768, 32767)
    prefilter: str = ""


@dataclass
class Edf:
    """A file; what is None follows from the signals."""

    signals: list[Signal]
    seconds: float = 1.0
    reserved: str = ""
    clock: str = "22.30.00"
    records: int | None = None
    width: int = 2
    date: str = "01.02.20"
    patient: str = "X X X X"
    cut: int = 0

    def write(self, path: Path) -> Path:
        """Write it."""
        parts = [self._record(number) for number in range(self._count())]
        data = self._header() + b"".join(parts)
        path.write_bytes(data[: len(data) - self.cut])
        return path

    def _count(self) -> int:
        first = self.signals[0]
        return len(first.samples) if first.label in ANNOTATIONS else len(first.samples) // first.per_record

    def _record(self, number: int) -> bytes:
        made = []
        for signal in self.signals:
            if signal.label in ANNOTATIONS:
                raw = signal.samples[number]
                assert isinstance(raw, bytes) and len(raw) <= signal.per_record * self.width
                made.append(raw.ljust(signal.per_record * self.width, b"\0"))
                continue
            part = np.asarray(signal.samples[number * signal.per_record : (number + 1) * signal.per_record])
            whole = part.astype("<i4").view(np.uint8).reshape(-1, 4)[:, : self.width]
            made.append(np.ascontiguousarray(whole).tobytes())
        return b"".join(made)

    def _header(self) -> bytes:
        count = len(self.signals)
        version = b"0       " if self.width == 2 else b"\xffBIOSEMI"
        records = self._count() if self.records is None else self.records
        cells: list[tuple[str | bytes, int]] = [(self.patient, 80), ("Startdate X X X X", 80), (self.date, 8), (self.clock, 8)]
        cells += [(str(256 * (count + 1)), 8), (self.reserved, 44), (str(records), 8), (f"{self.seconds:g}", 8), (str(count), 4)]
        for values, width in (
            ([s.label for s in self.signals], 16),
            (["AgAgCl"] * count, 80),
            ([s.unit for s in self.signals], 8),
            ([f"{s.physical[0]:g}" for s in self.signals], 8),
            ([f"{s.physical[1]:g}" for s in self.signals], 8),
            ([str(s.digital[0]) for s in self.signals], 8),
            ([str(s.digital[1]) for s in self.signals], 8),
            ([s.prefilter for s in self.signals], 80),
            ([str(s.per_record) for s in self.signals], 8),
            ([""] * count, 32),
        ):
            cells += [(value, width) for value in values]
        return version + b"".join(_bytes(value).ljust(width)[:width] for value, width in cells)


ANNOTATIONS = ("EDF Annotations", "BDF Annotations")


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1")


def tal(onset: float, *texts: str, duration: float | None = None, encoding: str = "utf-8") -> bytes:
    """A time-stamped annotation list; without text that which opens a data record."""
    lasting = "" if duration is None else f"\x15{duration:g}"
    return f"{onset:+.10g}{lasting}\x14".encode() + b"".join(text.encode(encoding) + b"\x14" for text in texts or ("",)) + b"\0"


def annotations(records: Sequence[bytes]) -> Signal:
    """The annotation signal with these bytes in its records."""
    size = max(-(-len(record) // 2) for record in records) + 1
    return Signal("EDF Annotations", list(records), size, unit="", physical=(-1, 1))


def noise(seconds: float, rate: int, seed: int = 0, scale: float = 300.0) -> np.ndarray:
    """Digital samples of a coloured noise, which looks a little like EEG."""
    generator = np.random.default_rng(seed)
    white = generator.standard_normal(round(seconds * rate) + 64)
    return np.clip(np.convolve(white, np.ones(64) / 8, "valid")[: round(seconds * rate)] * scale, -32000, 32000).astype(np.int32)


def hypnogram_edf(path: Path, bouts: Sequence[tuple[float, float, str]]) -> Path:
    """A hypnogram as Sleep-EDF's: annotations alone, one data record of 0 s."""
    raw = tal(0) + b"".join(tal(onset, text, duration=duration) for onset, duration, text in bouts)
    return Edf([annotations([raw])], seconds=0, reserved="EDF+C").write(path)
