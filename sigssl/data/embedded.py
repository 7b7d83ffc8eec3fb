"""A file inside an archive, at an offset: `wav.ark:123`, as Kaldi's wav-copy and ESPnet's format_wav_scp write; or in a tar."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any


class Embedded(io.RawIOBase):
    """The bytes of `file` from `offset` on, as a file of its own.

    Args:
        file: the archive.
        offset: where the inner file begins.
        size: its bytes; None: all up to the end of the archive.
    """

    def __init__(self, file: str, offset: int, size: int | None = None) -> None:
        self._file = Path(file).open("rb")  # noqa: SIM115 - closed with this object
        self._offset = offset
        self._size = os.fstat(self._file.fileno()).st_size - offset if size is None else size
        self._file.seek(offset)

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`; the number of bytes read."""
        return self._file.readinto(memoryview(buffer)[: max(0, self._size - self.tell())])

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Move, counted from the offset; the new position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: self._size}[whence]
        return self._file.seek(max(0, base + position) + self._offset) - self._offset

    def tell(self) -> int:
        """The position, counted from the offset."""
        return self._file.tell() - self._offset

    def close(self) -> None:
        """Close the archive."""
        self._file.close()
        super().close()
