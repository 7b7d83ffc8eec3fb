"""Files written whole or not at all, and the line tables (`key value`) that data directories are made of."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sigssl.errors import UserError

TEMPORARY = ".tmp-"  # what the names of half-written files begin with


@contextlib.contextmanager
def whole(path: Path | str) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`, which takes its name when the block succeeds and vanishes when it fails.

    A reader, or a rerun after a kill, thus sees the old file or the new one, never half of one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(4)}-{path.name}")  # the ending stays: some writers go by it
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends, whole."""
    with whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def write_json(path: Path | str, obj: Any) -> None:
    """Write `obj` as indented JSON, whole. NaN is refused (ValueError), since no other reader would accept it."""
    write_text(path, json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises:
        UserError: it does not exist or is no JSON; file and line are named.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not JSON: {error}") from error


class Line(NamedTuple):
    """One line of a table: its number (from 1), the key, and the rest ("" where there is none)."""

    number: int
    key: str
    value: str


def read_lines(path: Path | str) -> list[Line]:
    """Read a table of `key value` lines as Kaldi and people on Windows write them.

    The key ends at the first space or tab; a byte order mark, CRLF, blank lines and spaces at the ends are dropped. Only
    ASCII space and tab separate, so that transcripts may hold any other Unicode space.

    Raises:
        UserError: no such file, or bytes that are not UTF-8 (the line is named).
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: no such file.") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}:{number}: byte 0x{data[error.start]:02x} is not UTF-8. Convert the file, for instance "
            f"with: iconv -f latin1 -t utf-8 {path.name}"
        ) from None
    lines = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip(" \t\r")
        if line:
            key, _, value = line.partition(" ")
            if "\t" in key:
                key, _, value = line.partition("\t")
            lines.append(Line(number, key, value.lstrip(" \t")))
    return lines


def read_table(path: Path | str, *, empty_ok: bool = False) -> dict[str, str]:
    """Read a table with unique keys, in the order of the file.

    Args:
        path: the file.
        empty_ok: whether a key may stand alone (a transcript may be empty; a path may not).

    Raises:
        UserError: a key twice, or a key without value where one is needed; file and line are named.
    """
    table: dict[str, str] = {}
    for number, key, value in read_lines(path):
        if key in table:
            raise UserError(
                f"{path}:{number}: id {key!r} again (first in line {line_of(path, key)}). Ids must be unique: "
                f"remove or rename one of the two; 'sigssl validate --fix' removes lines that are equal."
            )
        if not value and not empty_ok:
            raise UserError(f"{path}:{number}: id {key!r} stands alone; expected '{key} VALUE'. Complete the line or remove it.")
        table[key] = value
    return table


def line_of(path: Path | str, key: str) -> int:
    """The number of the first line with `key`, for a message (the file is read again)."""
    return next(line.number for line in read_lines(path) if line.key == key)


def write_table(path: Path | str, table: Mapping[str, str] | Iterable[tuple[str, str]]) -> None:
    """Write a table, sorted by its keys' bytes (the C locale's order, which Kaldi's tools expect), whole."""
    pairs = table.items() if isinstance(table, Mapping) else table
    lines = [f"{key} {value}\n" if value else f"{key}\n" for key, value in sorted(pairs)]  # UTF-8 keeps code point order
    write_text(path, "".join(lines))
