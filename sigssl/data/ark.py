"""The feature store: matrices [time, dim] in Kaldi's ark + scp, which Kaldi's tools read, beside a feats.json that says what it is.

A folder holds one ark and scp per writing job (feats.1.ark, feats.1.scp, ...) and the feats.scp that joins them. An scp line is
written after its matrix is in the ark, so that whatever an scp names is whole, also after a kill.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import TracebackType

import kaldi_native_io
import numpy as np

from sigssl.data.io import read_lines, read_table, whole, write_table
from sigssl.data.matrix import HEADER, MAGIC, Matrix, end_of_matrix, read_matrix, read_rows, shape
from sigssl.data.paths import find
from sigssl.data.store import StoreInfo
from sigssl.errors import UserError

SPOOL = 64 << 20  # bytes after which the compressor's spool file begins anew

__all__ = ["ArkWriter", "StoreInfo", "merge", "read_matrix", "read_rows", "read_scp", "recover", "shape"]


class ArkWriter:
    """Write matrices into `folder/name[.part].ark` and `.scp`; an existing pair is mended by :func:`recover_pair` and appended to.

    Args:
        folder: made if needed. The scp holds its absolute path, so that Kaldi's tools read it from anywhere.
        name: `feats`, `emb`, ...
        part: the number of the writing job; None for a single writer.
        compress: Kaldi's lossy 8-bit compression, a quarter of the size; such matrices cannot be sliced without decoding.

    Attributes:
        done: the ids that are in the store, those of an earlier run included.
    """

    def __init__(self, folder: Path | str, name: str = "feats", part: int | None = None, compress: bool = False) -> None:
        stem = name if part is None else f"{name}.{part}"
        self.folder = Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ark_path, self.scp_path = self.folder / f"{stem}.ark", self.folder / f"{stem}.scp"
        self.done: set[str] = set(recover_pair(self.ark_path, self.scp_path))
        self._ark = self.ark_path.open("ab")
        self._scp = self.scp_path.open("ab")
        self._compressor = _Compressor(self.folder / f".{stem}.spool") if compress else None

    def __enter__(self) -> ArkWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def write(self, id: str, matrix: Matrix) -> None:
        """Append one matrix [T, F]; when this returns, a kill of the process cannot lose it.

        Raises:
            UserError: an id that is empty, holds space, or is in the store already.
        """
        if not id or any(c.isspace() for c in id):
            raise UserError(
                f"{self.ark_path}: id {id!r} is empty or holds a space; Kaldi's tables cannot hold it. Rename the utterance."
            )
        if id in self.done:
            raise UserError(f"{self.ark_path}: id {id!r} is in the store already. Skip the ids in `done` when you resume.")
        if not matrix.size:
            raise UserError(
                f"{self.ark_path}: {id!r} has no frames (it is {matrix.shape}), and Kaldi has no such matrix. Leave it out."
            )
        if self._compressor is not None:
            body = self._compressor(matrix)
        else:
            rows, columns = matrix.shape
            body = HEADER.pack(MAGIC, 4, rows, 4, columns) + np.ascontiguousarray(matrix, dtype="<f4").tobytes()
        key = id.encode() + b" "
        offset = self._ark.tell() + len(key)
        self._ark.write(key + body)
        self._ark.flush()
        self._scp.write(f"{id} {self.ark_path}:{offset}\n".encode())
        self._scp.flush()
        self.done.add(id)

    def close(self) -> None:
        """Bring both files to the disk and close them; calling it again does nothing."""
        if self._ark.closed:
            return
        for file in (self._ark, self._scp):
            os.fsync(file.fileno())
            file.close()
        if self._compressor is not None:
            self._compressor.close()


class _Compressor:
    """Kaldi's compressed form of a matrix, from kaldi_native_io, which writes files only: through a spool file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open()

    def _open(self) -> None:
        self._writer = kaldi_native_io.CompressedMatrixWriter(f"ark:{self._path}")
        self._reader = self._path.open("rb")

    def __call__(self, matrix: Matrix) -> bytes:
        if self._reader.tell() > SPOOL:
            self.close()
            self._open()
        self._writer.write("x", np.ascontiguousarray(matrix, dtype=np.float32), kaldi_native_io.CompressionMethod.kAutomaticMethod)
        self._writer.flush()
        return self._reader.read()[2:]  # without the key "x "

    def close(self) -> None:
        """Close and remove the spool file."""
        self._reader.close()
        self._writer.close()
        self._path.unlink()


def recover_pair(ark: Path, scp: Path) -> list[str]:
    """Cut off what a killed writer left half-written at the end of an ark and its scp.

    The ark may end in a matrix that no scp line names, the scp in half a line; both are cut to the last whole matrix.

    Returns:
        The ids of the matrices that are left.

    Raises:
        UserError: the scp names other arks, so it is the joined one and cannot be written to.
    """
    lines = scp.read_bytes().split(b"\n")[:-1] if scp.exists() else []  # what follows the last line end is half a line
    strange = [line for line in lines if not line.rpartition(b":")[0].endswith(b"/" + ark.name.encode())]
    if strange:
        raise UserError(f"{scp}: joins the arks of several jobs and cannot be written to. Give ArkWriter a part or another folder.")
    size = ark.stat().st_size if ark.exists() else 0
    ends: dict[bytes, int] = {}
    if size:
        with ark.open("rb") as file:
            for line in lines:
                end = end_of_matrix(file, int(line.rpartition(b":")[2]))
                if end <= size:
                    ends[line] = end
    if ark.exists():
        os.truncate(ark, max(ends.values(), default=0))
    kept = b"".join(line + b"\n" for line in ends)
    if scp.exists() and scp.read_bytes() != kept:
        with whole(scp) as temporary:
            temporary.write_bytes(kept)
    return [line.split(b" ", 1)[0].decode() for line in ends]


def recover(folder: Path | str, name: str = "feats") -> set[str]:
    """Mend every pair of a store after a kill; the ids that are whole. No writer may be at work.

    Args:
        folder: the store.
        name: `feats`, `emb`, ...
    """
    folder = Path(folder)
    for spool in folder.glob(f".{name}*.spool"):
        spool.unlink()
    return {id for scp in _parts(folder, name) for id in recover_pair(scp.with_suffix(".ark"), scp)}


def merge(folder: Path | str, name: str = "feats") -> dict[str, str]:
    """Join the scps of the jobs into `name.scp`, sorted, written whole.

    Returns:
        id -> rxfile.

    Raises:
        UserError: an id in two of them.
    """
    folder = Path(folder)
    joined: dict[str, str] = {}
    for scp in _parts(folder, name):
        for line in read_lines(scp):
            if line.key in joined:
                raise UserError(f"{scp}:{line.number}: id {line.key!r} is also in {joined[line.key]}. Each id may be stored once.")
            joined[line.key] = line.value
    write_table(folder / f"{name}.scp", joined)
    return joined


def read_scp(path: Path | str) -> dict[str, str]:
    """Read an scp; an ark that is not where it says (the folder was moved) is taken from beside the scp.

    Returns:
        id -> rxfile.
    """
    path = Path(path)
    return {id: find(rxfile, path.parent, by_name=True) for id, rxfile in read_table(path).items()}


def _parts(folder: Path, name: str) -> list[Path]:
    own = re.compile(rf"{re.escape(name)}(\.\d+)?\.scp")
    return sorted(scp for scp in folder.glob(f"{name}*.scp") if own.fullmatch(scp.name) and scp.with_suffix(".ark").exists())
