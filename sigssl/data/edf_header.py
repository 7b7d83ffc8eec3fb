"""The header of EDF, EDF+, BDF and BDF+ files, and what of it is out of order.

Layout (Kemp et al. 1992, Kemp & Olivan 2003): 256 bytes for the file, then 256 for each signal, field by field for all signals.
Everything is text of fixed width, so everything can be wrong; what has one sensible meaning is taken with a note, the rest refused.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sigssl.errors import UserError

FIELDS = (  # of the signals: name, bytes
    *(("label", 16), ("transducer", 80), ("unit", 8), ("physical_min", 8), ("physical_max", 8)),
    *(("digital_min", 8), ("digital_max", 8), ("prefilter", 80), ("samples", 8), ("reserved", 32)),
)
ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
MOST_SIGNALS = 4096


@dataclass(frozen=True)
class EdfSignal:
    """One signal of a file.

    Attributes:
        index: its place in the file, from 0.
        label: as it stands there. name: the same, with `#index` behind it where several signals have the label.
        unit: physical dimension as it stands there, "" for blank.
        samples: in a data record. offset: of its first sample in a data record, in samples of all signals.
        physical: physical minimum and maximum, None where they are no numbers. digital: likewise.
        transducer: type of the electrode or sensor. prefilter: what the amplifier filtered.
    """

    index: int
    label: str
    name: str
    unit: str
    samples: int
    offset: int
    physical: tuple[float, float] | None
    digital: tuple[float, float] | None
    transducer: str = ""
    prefilter: str = ""

    @property
    def is_annotation(self) -> bool:
        """Whether it holds annotations and no samples."""
        return self.label in ANNOTATIONS


@dataclass(frozen=True)
class EdfHeader:
    """A file's header.

    Attributes:
        path: the file.
        width: bytes of a sample: 2 in EDF, 3 in BDF.
        plus: "" for plain EDF and BDF, "C" for the + form, "D" for the discontinuous + form.
        patient: identification of the patient. recording: of the recording.
        start: date and time of the first record, None where they are no date.
        size: of the header in bytes.
        records: data records that are whole in the file. seconds: that each lasts.
        signals: all of them, those with annotations included.
        notes: what was out of order.
    """

    path: Path
    width: int
    plus: str
    patient: str
    recording: str
    start: datetime | None
    size: int
    records: int
    seconds: float
    signals: list[EdfSignal]
    notes: list[str] = field(default_factory=list)

    @property
    def record_samples(self) -> int:
        """Samples of all signals in a data record."""
        return sum(signal.samples for signal in self.signals)

    @property
    def annotated(self) -> list[EdfSignal]:
        """The signals that hold annotations."""
        return [signal for signal in self.signals if signal.is_annotation]

    def rate(self, signal: EdfSignal) -> float:
        """Samples per second of a signal."""
        return signal.samples / self.seconds


def read_header(path: str | Path) -> EdfHeader:
    """Read the header of an EDF or BDF file, whatever its name ends in.

    Raises:
        UserError: missing, empty or cut within the header, no EDF, or a field without sensible meaning.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            first = file.read(256)
            count = _count(path, first, size)
            rest = file.read(256 * count)
    except OSError as error:
        raise UserError(f"{path}: cannot be opened: {error.strerror}.") from None
    if len(rest) < 256 * count:
        raise UserError(f"{path}: truncated: ends within its header of {256 * (count + 1)} bytes. Fetch it again.")
    return _parse(path, first, rest, count, size)


def is_edf(path: str | Path) -> bool:
    """Whether a file begins as EDF and BDF do."""
    try:
        with Path(path).open("rb") as file:
            return _width(file.read(256)) is not None
    except OSError:
        return False


def _width(first: bytes) -> int | None:
    if first[:8] == b"\xffBIOSEMI":
        return 3
    return 2 if first[:8].strip() == b"0" and len(first) == 256 else None


def _count(path: Path, first: bytes, size: int) -> int:
    """The number of signals, after the first checks."""
    if not size:
        raise UserError(f"{path}: is empty (0 bytes). Fetch it again.")
    if len(first) < 256:
        raise UserError(f"{path}: is {len(first)} bytes long, shorter than any EDF header (256). Fetch it again.")
    if _width(first) is None:
        raise UserError(f"{path}: is no EDF or BDF file: it begins with {first[:8]!r}; expected '0       ' or 0xFF 'BIOSEMI'.")
    count = _integer(path, "number of signals", first[252:256])
    if not 0 < count <= MOST_SIGNALS:
        raise UserError(f"{path}: declares {count} signals; expected 1 to {MOST_SIGNALS}. The header is damaged.")
    return count


def _parse(path: Path, first: bytes, rest: bytes, count: int, size: int) -> EdfHeader:
    notes: list[str] = []
    reserved = _text(first[192:236])
    plus = {"EDF+C": "C", "BDF+C": "C", "EDF+D": "D", "BDF+D": "D"}.get(reserved[:5].upper(), "")
    declared = _integer(path, "size of the header", first[184:192])
    header = 256 * (count + 1)
    if declared != header:
        raise UserError(f"{path}: declares a header of {declared} bytes, but {count} signals take {header}. The header is damaged.")
    seconds = _number(path, "duration of a data record", first[244:252])
    signals = _signals(path, rest, count, notes)
    if seconds == 0 and not all(signal.is_annotation for signal in signals):
        raise UserError(f"{path}: its data records last 0 s, so that it is not known how fast it was sampled.")
    if seconds < 0 or seconds > 86400:
        raise UserError(f"{path}: declares data records of {seconds:g} s. The header is damaged.")
    width = _width(first) or 2
    record_bytes = width * sum(signal.samples for signal in signals)
    there = (size - header) // record_bytes if record_bytes else 0
    records = _records(path, _integer(path, "number of data records", first[236:244]), there, notes)
    if record_bytes and (size - header) % record_bytes and records == there:
        notes.append(f"truncated: the last data record is cut off and left out, {records} are whole")
    start = _start(first[168:184], notes)
    patient, recording = _text(first[8:88]), _text(first[88:168])
    return EdfHeader(path, width, plus, patient, recording, start, header, records, seconds, signals, notes)


def _records(path: Path, declared: int, there: int, notes: list[str]) -> int:
    if declared == -1:
        notes.append(f"number of data records not stated (-1); {there} by the size of the file")
        return there
    if declared < -1:
        raise UserError(f"{path}: declares {declared} data records. The header is damaged.")
    if declared > there:
        notes.append(f"truncated: {declared} data records declared, {there} are there")
    elif declared < there:
        notes.append(f"{there} data records are there, {declared} declared; the rest is left out")
    return min(declared, there)


def _signals(path: Path, rest: bytes, count: int, notes: list[str]) -> list[EdfSignal]:
    columns: dict[str, list[bytes]] = {}
    at = 0
    for name, bytes_each in FIELDS:
        columns[name] = [rest[at + i * bytes_each : at + (i + 1) * bytes_each] for i in range(count)]
        at += bytes_each * count
    labels = [_text(label) for label in columns["label"]]
    if any(not _is_utf8(label) for label in columns["label"]):
        notes.append("labels are not ASCII or UTF-8; read as Latin-1")
    often = Counter(label for label in labels if label not in ANNOTATIONS)
    repeated = [label for label, n in often.items() if n > 1]
    if repeated:
        notes.append(f"several signals have the label {', '.join(map(repr, repeated))}; they are told apart as {repeated[0]}#INDEX")
    made, offset = [], 0
    for i, label in enumerate(labels):
        samples = _integer(path, f"samples per record of signal {i} ({label!r})", columns["samples"][i])
        if samples < 0 or samples > 1 << 26:
            raise UserError(f"{path}: signal {i} ({label!r}) declares {samples} samples per data record. The header is damaged.")
        physical = _pair(columns["physical_min"][i], columns["physical_max"][i])
        digital = _pair(columns["digital_min"][i], columns["digital_max"][i])
        name = f"{label}#{i}" if often[label] > 1 else label
        texts = (_text(columns[field][i]) for field in ("transducer", "prefilter"))
        made.append(EdfSignal(i, label, name, _text(columns["unit"][i]), samples, offset, physical, digital, *texts))
        offset += samples
    return made


def _start(field: bytes, notes: list[str]) -> datetime | None:
    """`dd.mm.yyhh.mm.ss`; years from 85 on are of the 20th century."""
    text = _text(field).replace(":", ".").replace("/", ".").replace("-", ".")
    try:
        day, month, year = (int(part) for part in text[:8].split("."))
        hour, minute, second = (int(part) for part in text[8:].strip().split("."))
        return datetime(year + (1900 if year >= 85 else 2000), month, day, hour, minute, second)
    except ValueError:
        notes.append(f"start {_text(field)!r} is no date; times count from the start of the recording")
        return None


def _pair(low: bytes, high: bytes) -> tuple[float, float] | None:
    try:
        pair = float(_text(low).replace(",", ".")), float(_text(high).replace(",", "."))
    except ValueError:
        return None
    return pair if all(map(math.isfinite, pair)) else None


def _integer(path: Path, what: str, field: bytes) -> int:
    number = _number(path, what, field)
    if number != int(number):
        raise UserError(f"{path}: {what}: {_text(field)!r} is no whole number. The header is damaged.")
    return int(number)


def _number(path: Path, what: str, field: bytes) -> float:
    try:
        number = float(_text(field).replace(",", "."))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{path}: {what}: {_text(field)!r} is no number. The header is damaged.")
    return number


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _text(data: bytes) -> str:
    """UTF-8 where it is, else Latin-1, up to the padding."""
    text = data.decode("utf-8") if _is_utf8(data) else data.decode("latin-1")
    return text.replace("\0", " ").strip()
