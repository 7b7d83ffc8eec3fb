"""Opening a recording, and saying in plain words why it does not open."""

from __future__ import annotations

import io
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import soundfile

from sigssl.data.datadir import Command
from sigssl.data.embedded import Embedded
from sigssl.data.paths import parse_place
from sigssl.data.tar import locate, tar_of
from sigssl.errors import UserError

ENDLESS = (0, 0x7FFFFFFF, 0x7FFFF000, 0xFFFFFFFF)  # sizes that programs write into a WAV header when they cannot go back


@contextmanager
def opened(path: str | Path) -> Iterator[soundfile.SoundFile]:
    """Open a file, the inside of an archive or an allowed command; say in plain words why it does not open.

    Args:
        path: `x.wav`, `wav.ark:123`, `recording.000000.tar!/000000012/id`, or a :class:`Command`.
    """
    name = str(path)
    if isinstance(path, Command):
        source: str | io.RawIOBase | io.BytesIO = io.BytesIO(_run(path))
    elif name.endswith("|"):
        raise UserError(f"{name!r} is a shell command; it is not run unless the data directory is read with allow_commands.")
    elif tar_of(name):
        tar, member = locate(name)
        source = Embedded(tar, member.offset, member.size)
    else:
        place = parse_place(name)
        check_file(place.file)
        source = name if place.offset is None else Embedded(place.file, place.offset)
    with ExitStack() as stack:
        if not isinstance(source, str):
            stack.enter_context(source)
        try:
            file = stack.enter_context(soundfile.SoundFile(source))
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise UserError(f"{name}: cannot be read as audio: {reason(error)}{_looks_like(source)}") from None
        if file.frames == 0:
            raise UserError(
                f"{name}: holds no samples (only a header, or cut off behind it). Remove it from the data or fetch it again."
            )
        if file.format in ("WAV", "WAVEX") and source is name:
            _check_wav_size(name)
        yield file


def check_file(name: str) -> None:
    """Raise (UserError) when a file is missing, a link to nothing, unreadable or empty."""
    try:
        size = os.stat(name).st_size  # noqa: PTH116 - a Path here costs more than the call itself
    except (FileNotFoundError, NotADirectoryError):
        link = " (a symbolic link to nothing)" if Path(name).is_symlink() else ""
        raise UserError(f"{name}: no such file{link}. Correct its line in wav.scp or remove it.") from None
    except OSError as error:
        raise UserError(f"{name}: cannot be opened: {error.strerror}.") from None
    if size == 0:
        raise UserError(f"{name}: is empty (0 bytes). Fetch it again or remove it from the data.")


def _check_wav_size(name: str) -> None:
    """Raise when a WAV file holds less than its header declares: libsndfile itself silently reads what is there."""
    with Path(name).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(12)
        while len(header := file.read(8)) == 8:
            kind, declared = struct.unpack("<4sI", header)
            if kind == b"data":
                there = size - file.tell()
                if declared > there and declared not in ENDLESS:
                    raise UserError(
                        f"{name}: truncated: its header declares {declared} bytes of samples, {there} are there. "
                        f"Fetch it again or remove it from the data."
                    )
                return
            file.seek(declared + declared % 2, os.SEEK_CUR)


def reason(error: Exception) -> str:
    """What libsndfile says, without its preamble."""
    return str(getattr(error, "error_string", error)).rstrip(".")


def _looks_like(source: str | io.RawIOBase | io.BytesIO) -> str:
    """What it seems to be that is no audio."""
    if isinstance(source, str):
        with Path(source).open("rb") as file:
            head = file.read(64)
    else:
        source.seek(0)
        head = source.read(64) or b""
    if head.lstrip()[:1] == b"<":
        return "; it is a web page, perhaps an error or login page saved in its place. Fetch it again."
    if head.startswith(b"version https://git-lfs"):
        return "; it is a Git LFS pointer, not the data. Run 'git lfs pull'."
    return f"; it begins with {head[:12]!r}. Fetch it again, convert it to WAV or FLAC, or remove it from the data."


def _run(command: Command) -> bytes:
    """What an allowed `... |` of a wav.scp writes to its standard output."""
    done = subprocess.run(command.rstrip("| "), shell=True, capture_output=True)  # the user allowed it
    if done.returncode or not done.stdout:
        said = done.stderr.decode(errors="replace").strip()[-300:]
        raise UserError(f"{command!r}: gave {len(done.stdout)} bytes and exit code {done.returncode}: {said}")
    return done.stdout
