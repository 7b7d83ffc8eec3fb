r"""Reading matrices where Kaldi's scp lines point: `file.ark:123`, `file.ark:123[0:9]`; slices of rows without the rest.

An uncompressed float matrix is `\0 B F M SPACE \4 rows \4 columns` (15 bytes) and then its rows, so a slice of rows is one read
at an offset. Compressed, double and text matrices go through kaldi_native_io.
"""

from __future__ import annotations

import io
import os
import re
import struct
import sys
from typing import BinaryIO

import kaldi_native_io
import numpy as np
from jaxtyping import Float32

from sigssl.data.paths import Place, parse_place
from sigssl.errors import UserError

MAGIC = b"\0BFM "
HEADER = struct.Struct("<5sbibi")  # \0BFM SPACE, then each of rows and columns behind the byte 4, its size

Matrix = Float32[np.ndarray, "time dim"]


def shape(rxfile: str) -> tuple[int, int]:
    """Rows and columns of a stored matrix; of a binary one only the header is read.

    Raises:
        UserError: missing or truncated file, or no matrix there.
    """
    place = parse_rxfile(rxfile)
    with _open(place) as file:
        form, rows, columns, _ = header(file, place.offset or 0)
        if form != "other" and end_of_matrix(file, place.offset or 0) > os.fstat(file.fileno()).st_size:
            raise UserError(f"{rxfile}: truncated: {rows} x {columns} numbers declared, the file ends before. Compute it again.")
    if form == "other" or place.range:
        rows, columns = read_matrix(rxfile).shape
    return rows, columns


def read_matrix(rxfile: str) -> Matrix:
    """Read a matrix [T, F] of any kind that Kaldi writes, `file.ark:123` or `file.ark:123[0:9]` (rows 0 to 9, both included).

    Raises:
        UserError: missing or truncated file, or no matrix there.
    """
    return read_rows(rxfile, 0, None)


def read_rows(rxfile: str, start: int, stop: int | None) -> Matrix:
    """Read the rows from `start` up to, not including, `stop`; of an uncompressed matrix nothing else is read.

    The rows are copied out of the file rather than mapped: behind 15 bytes of header they are not aligned, and a mapped file that
    gets shorter kills the process where a short read is an error.

    Args:
        rxfile: as for :func:`read_matrix`.
        start: first row.
        stop: the row after the last, None for all that follow.

    Raises:
        UserError: missing or truncated file, no matrix there, or rows that it lacks.
    """
    place = parse_rxfile(rxfile)
    with _open(place) as file:
        form, rows, columns, skip = header(file, place.offset or 0)
        if form != "FM" or "," in place.range:
            matrix = _read_by_kaldi(rxfile)
            return np.ascontiguousarray(matrix[_rows(rxfile, start, stop, len(matrix))])
        first, last = _range(place, rows)
        wanted = _rows(rxfile, start, stop, last - first)
        made = np.empty((wanted.stop - wanted.start, columns), dtype="<f4")
        file.seek((place.offset or 0) + skip + (first + wanted.start) * columns * 4)
        left = made.data.cast("B") if made.size else memoryview(b"")
        while left and (count := file.readinto(left)):  # one call reads 2 GiB at the most
            left = left[count:]
        if left:
            raise UserError(f"{rxfile}: truncated: {rows} x {columns} numbers declared, the file ends before. Compute it again.")
        return made


def parse_rxfile(rxfile: str) -> Place:
    """Split `file[:offset][range]`.

    Raises:
        UserError: a command (`... |`), which is never run here.
    """
    if rxfile.rstrip().endswith("|"):
        raise UserError(
            f"{rxfile!r} is a command, not a place of a matrix; expected FILE.ark:OFFSET. Write the features to a file."
        )
    return parse_place(rxfile)


def _open(place: Place) -> io.FileIO:
    try:
        return io.FileIO(place.file)
    except OSError as error:
        raise UserError(f"{place.file}: cannot be opened: {error.strerror}. Compute the features again, or mend the scp.") from None


def header(file: io.FileIO | BinaryIO, offset: int) -> tuple[str, int, int, int]:
    """Form (FM, CM, CM2, CM3 or other), rows, columns, and bytes up to the data of the matrix at `offset`."""
    file.seek(offset)
    head = file.read(22)
    if head.startswith(MAGIC) and len(head) >= HEADER.size:
        _, _, rows, _, columns = HEADER.unpack_from(head)
        return "FM", rows, columns, HEADER.size
    found = re.match(rb"\0B(CM[23]?) ", head)
    if found and len(head) >= found.end() + 16:
        _, _, rows, columns = struct.unpack_from("<ffii", head, found.end())
        return found[1].decode(), rows, columns, found.end() + 16
    return "other", 0, 0, 0


def end_of_matrix(file: io.FileIO | BinaryIO, offset: int) -> int:
    """The offset behind the matrix at `offset`; beyond any file where there is none."""
    form, rows, columns, skip = header(file, offset)
    if form == "other":
        return sys.maxsize
    size = {"FM": 4, "CM": 1, "CM2": 2, "CM3": 1}[form]
    return offset + skip + rows * columns * size + (8 * columns if form == "CM" else 0)


def _rows(rxfile: str, start: int, stop: int | None, there: int) -> slice:
    stop = there if stop is None else stop
    if not 0 <= start <= stop <= there:
        raise UserError(f"{rxfile}: rows {start} to {stop} asked for, {there} are there.")
    return slice(start, stop)


def _range(place: Place, rows: int) -> tuple[int, int]:
    """First row and the row after the last of Kaldi's `[first:last]`."""
    if place.range in ("", "[]", "[:]"):
        return 0, rows
    first, _, last = place.range[1:-1].partition(":")
    start, stop = int(first), int(last) + 1
    if not 0 <= start < stop <= rows + 3:  # Kaldi cuts what lies up to three rows behind the end, from rounding of times
        raise UserError(f"{place.file}:{place.offset}{place.range}: the matrix has {rows} rows.")
    return start, min(stop, rows)


def _read_by_kaldi(rxfile: str) -> Matrix:
    try:
        matrix = kaldi_native_io.FloatMatrix.read(rxfile)
        return np.array(matrix.numpy())  # numpy() is a view of the matrix's memory and does not keep it alive
    except RuntimeError as error:
        said = str(error).strip().splitlines()[-1]
        raise UserError(f"{rxfile}: no matrix can be read there ({said}). Compute the features again, or mend the scp.") from None
