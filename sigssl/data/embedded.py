"""A file inside an archive, at an offset: `wav.ark:123`, as Kaldi's wav-copy and ESPnet's format_wav_scp write them."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any


class Embedded(io.RawIOBase):
    """The bytes of `file` from `offset` on, as a file of its own."""

    def __init__(self, file: str, offset: int) -> None:
        self._file = Path(file).open("rb")  # noqa: SIM115 - closed with this object
        self._offset = offset
        self._file.seek(offset)

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`; the number of bytes read."""
        return self._file.readinto(buffer)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Move, counted from the offset; the new position."""
        return self._file.seek(position + self._offset if whence == os.SEEK_SET else position, whence) - self._offset

    def tell(self) -> int:
        """The position, counted from the offset."""
        return self._file.tell() - self._offset

    def close(self) -> None:
        """Close the archive."""
        self._file.close()
        super().close()
