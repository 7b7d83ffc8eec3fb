r"""Annotations of EDF+ and BDF+: time-stamped lists `+onset[\x15duration]\x14text\x14...\0`, and the onsets of data records."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from sigssl.data.edf_header import EdfHeader, EdfSignal
from sigssl.errors import UserError

STAMP = re.compile(rb"^([+-]\d+(?:[.,]\d*)?)(?:\x15(\d+(?:[.,]\d*)?))?\x14", re.DOTALL)


class Annotation(NamedTuple):
    """Something that was noted: onset in seconds from the start of the recording, duration in seconds (0: none), text."""

    onset: float
    duration: float
    text: str


def read_annotations(header: EdfHeader) -> tuple[list[Annotation], list[str]]:
    """All annotations of a file, in order of their onsets, and what was out of order.

    Where the file holds signals too, the onset of the first data record is subtracted (it may be a fraction of a second), so that
    0 is the first sample.
    """
    found: list[Annotation] = []
    damaged = latin = 0
    blocks = _blocks(header, header.annotated)
    opening = STAMP.match(blocks[0][0]) if blocks and len(header.annotated) < len(header.signals) else None
    origin = float(opening[1].replace(b",", b".")) if opening else 0.0
    for block in blocks:
        for part in block:
            for tal in part.split(b"\0"):
                stamp = STAMP.match(tal)
                if not stamp:
                    damaged += bool(tal.strip(b"\0 "))
                    continue
                onset, duration = float(stamp[1].replace(b",", b".")), float((stamp[2] or b"0").replace(b",", b"."))
                for raw in tal[stamp.end() :].split(b"\x14"):
                    text, strange = _decoded(raw)
                    latin += strange
                    if text:
                        found.append(Annotation(onset - origin, duration, text))
    notes = [f"{damaged} damaged annotations left out"] if damaged else []
    notes += [f"{latin} annotations are not UTF-8; read as Latin-1"] if latin else []
    return sorted(found), notes


def record_onsets(header: EdfHeader) -> Float64[np.ndarray, " records"]:
    """The onset of each data record in seconds from that of the first.

    Raises:
        UserError: a record does not say when it began.
    """
    made = np.empty(header.records)
    if not header.annotated:
        raise UserError(f"{header.path}: is discontinuous (EDF+D), but has no signal 'EDF Annotations' to say when records began.")
    for number, (first, *_) in enumerate(_blocks(header, header.annotated[:1])):
        stamp = STAMP.match(first)
        if not stamp:
            raise UserError(
                f"{header.path}: is discontinuous (EDF+D), but data record {number} does not say when it began. Write the file "
                f"anew from its source."
            )
        made[number] = float(stamp[1].replace(b",", b"."))
    return made - made[0] if len(made) else made


def _blocks(header: EdfHeader, signals: list[EdfSignal]) -> list[list[bytes]]:
    """For each data record, the bytes of these signals."""
    if not signals:
        return []
    width, record = header.width, header.width * header.record_samples
    spans = [(signal.offset * width, signal.samples * width) for signal in signals]
    made = []
    with Path(header.path).open("rb", buffering=0) as file:
        for number in range(header.records):
            parts = []
            for offset, length in spans:
                file.seek(header.size + number * record + offset)
                parts.append(file.read(length))
            made.append(parts)
    return made


def _decoded(raw: bytes) -> tuple[str, bool]:
    """The text, and whether it is no UTF-8."""
    try:
        return raw.decode("utf-8").strip(), False
    except UnicodeDecodeError:
        return raw.decode("latin-1").strip(), True
