"""What a shard leaves on disk: Kaldi arks, or NumPy files; under temporary names until they are whole."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO
from urllib.parse import quote

import kaldi_native_io
import numpy as np
from jaxtyping import Float32

from sigssl.data.io import TEMPORARY, whole
from sigssl.data.matrix import HEADER, MAGIC
from sigssl.extract.shards import Entry, size

Tracks = list[Float32[np.ndarray, "time dim"]]  # a matrix per layer, all of the same number of rows; features have one track


def track_names(name: str, tracks: int) -> list[str]:
    """`[name]`, or `[name.layer0, name.layer1, ...]` where there are several tracks."""
    return [name] if tracks == 1 else [f"{name}.layer{n}" for n in range(tracks)]


def sweep(folder: Path) -> None:
    """Remove what killed writers left half-written."""
    for left in folder.glob(f"{TEMPORARY}*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


class Sink:
    """Takes the utterances of a shard one after the other; the end of its context gives its files their names.

    Attributes:
        entries: what was written.
    """

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.folder = folder
        self.names = names
        self.entries: list[Entry] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Sink:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.finish()
        self._stack.__exit__(kind, error, trace)

    def open(self) -> None:
        """Begin."""

    def finish(self) -> None:
        """What is left to do when all is written."""

    def write(self, id: str, pieces: Iterable[Tracks]) -> None:
        """Write an utterance that comes in one or more pieces of rows; if they raise, nothing of it is kept."""
        raise NotImplementedError

    def files(self) -> dict[str, int]:
        """What was written and how large it is, as :func:`sigssl.extract.shards.size` says."""
        return {name: size(self.folder / name) for name in self.names}


class ArkSink(Sink):
    """`name.N.ark`, one per track, float32. A recording that comes in pieces passes through as it comes."""

    def __init__(self, folder: Path, name: str, number: int, tracks: int = 1) -> None:
        super().__init__(folder, [f"{stem}.{number}.ark" for stem in track_names(name, tracks)])
        self._files: list[BinaryIO] = []

    def open(self) -> None:
        """Open the arks; they are closed before they are renamed, as the stack unwinds."""
        paths = [self._stack.enter_context(whole(self.folder / name)) for name in self.names]
        self._files = [self._stack.enter_context(path.open("wb", buffering=1 << 20)) for path in paths]

    def write(self, id: str, pieces: Iterable[Tracks]) -> None:
        """See :class:`Sink`."""
        key = id.encode() + b" "
        begins = [file.tell() + len(key) for file in self._files]
        rows, parts = 0, 0
        try:
            for tracks in pieces:
                for file, track in zip(self._files, tracks, strict=True):
                    if not parts:
                        file.write(key + HEADER.pack(MAGIC, 4, len(track), 4, track.shape[1]))
                    file.write(np.ascontiguousarray(track, dtype="<f4").data)
                rows, parts = rows + len(tracks[0]), parts + 1
        except BaseException:
            for file, begin in zip(self._files, begins, strict=True):
                file.seek(begin - len(key))
                file.truncate()
            raise
        if parts > 1:
            self._correct(begins, rows)
        self.entries.append(Entry(id, [f"{name}:{begin}" for name, begin in zip(self.names, begins, strict=True)], rows))

    def _correct(self, begins: list[int], rows: int) -> None:
        """Write the number of rows into the headers, now that it is known."""
        for file, begin in zip(self._files, begins, strict=True):
            end = file.tell()
            file.seek(begin + len(MAGIC) + 1)
            file.write(rows.to_bytes(4, "little"))
            file.seek(end)


class CompressedArkSink(Sink):
    """`name.N.ark`, one per track, in Kaldi's lossy 8-bit form, whose scale is the matrix's own: each recording is held whole."""

    def __init__(self, folder: Path, name: str, number: int, tracks: int = 1) -> None:
        super().__init__(folder, [f"{stem}.{number}.ark" for stem in track_names(name, tracks)])

    def open(self) -> None:
        """Open the arks; they are closed before they are renamed, as the stack unwinds."""
        self._paths = [self._stack.enter_context(whole(self.folder / name)) for name in self.names]
        self._writers = [
            self._stack.enter_context(contextlib.closing(kaldi_native_io.CompressedMatrixWriter(f"ark:{path}")))
            for path in self._paths
        ]

    def write(self, id: str, pieces: Iterable[Tracks]) -> None:
        """See :class:`Sink`."""
        matrices = [np.concatenate(parts) for parts in zip(*pieces, strict=True)]
        begins = [path.stat().st_size + len(id.encode()) + 1 for path in self._paths]
        for writer, matrix in zip(self._writers, matrices, strict=True):
            writer.write(id, matrix, kaldi_native_io.CompressionMethod.kAutomaticMethod)
            writer.flush()
        places = [f"{name}:{begin}" for name, begin in zip(self.names, begins, strict=True)]
        self.entries.append(Entry(id, places, len(matrices[0])))


class NpySink(Sink):
    """A folder `name.N/` with `id.npy` for each utterance: [T, D], or [layers, T, D] of several tracks."""

    def __init__(self, folder: Path, name: str, number: int, tracks: int = 1) -> None:
        super().__init__(folder, [f"{name}.{number}"])
        self._tracks = tracks

    def open(self) -> None:
        """Make the folder under a temporary name."""
        self._made = Path(self._stack.enter_context(_temporary_folder(self.folder, self.names[0])))

    def finish(self) -> None:
        """Give the folder its name; one of an earlier run is replaced."""
        shutil.rmtree(self.folder / self.names[0], ignore_errors=True)
        self._made.chmod(0o755)
        self._made.replace(self.folder / self.names[0])

    def write(self, id: str, pieces: Iterable[Tracks]) -> None:
        """See :class:`Sink`. Each track is spooled to a file of its own, since the header wants the number of rows first."""
        file = f"{quote(id, safe=' ')}.npy"
        rows, dim = 0, 0
        with contextlib.ExitStack() as stack:
            spools = [stack.enter_context(tempfile.TemporaryFile(dir=self._made)) for _ in range(self._tracks)]
            for tracks in pieces:
                rows, dim = rows + len(tracks[0]), tracks[0].shape[1]
                for spool, track in zip(spools, tracks, strict=True):
                    spool.write(np.ascontiguousarray(track, dtype="<f4").data)
            with (self._made / file).open("wb") as target:
                shape = (rows, dim) if self._tracks == 1 else (self._tracks, rows, dim)
                _npy_header(target, shape)
                for spool in spools:
                    spool.seek(0)
                    shutil.copyfileobj(spool, target, 1 << 20)
        self.entries.append(Entry(id, [f"{self.names[0]}/{file}"], rows))


class NpyTableSink(Sink):
    """`name.N.npy` with a row per utterance, for pooled results: [n, D], or [n, layers, D] of several tracks."""

    def __init__(self, folder: Path, name: str, number: int, tracks: int = 1) -> None:
        super().__init__(folder, [f"{name}.{number}.npy"])
        self._tracks = tracks
        self._rows: list[np.ndarray] = []

    def write(self, id: str, pieces: Iterable[Tracks]) -> None:
        """See :class:`Sink`."""
        (tracks,) = pieces
        self._rows.append(np.concatenate(tracks) if self._tracks > 1 else tracks[0][0])
        self.entries.append(Entry(id, [f"{self.names[0]}:{len(self._rows) - 1}"], 1))

    def finish(self) -> None:
        """Write the table, in the order of the ids."""
        if not self._rows:
            self.names = []
            return
        order = sorted(range(len(self.entries)), key=lambda i: self.entries[i].id)
        with whole(self.folder / self.names[0]) as path, path.open("wb") as file:
            np.save(file, np.stack([self._rows[i] for i in order]))
        self.entries = [Entry(self.entries[i].id, [f"{self.names[0]}:{row}"], 1) for row, i in enumerate(order)]


def join_tables(tables: list[Path], target: Path) -> None:
    """Write the rows of NumPy files, one after the other, into one; a table at a time is in memory.

    Args:
        tables: float32 [n_i, ...], the same shape behind n_i.
        target: float32 [sum of n_i, ...].
    """
    shapes = [np.load(table, mmap_mode="r").shape for table in tables]
    with whole(target) as path, path.open("wb") as file:
        _npy_header(file, (sum(shape[0] for shape in shapes), *shapes[0][1:]))
        for table in tables:
            file.write(np.ascontiguousarray(np.load(table), dtype="<f4").data)


def _npy_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})


@contextlib.contextmanager
def _temporary_folder(folder: Path, name: str) -> Iterator[str]:
    """A folder that is gone afterwards, unless it was given another name."""
    path = tempfile.mkdtemp(dir=folder, prefix=f"{TEMPORARY}{name}.")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
