"""Reading CSV and TSV tables so that every error names its line."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from sigssl.errors import UserError, nearest


class Row(dict[str, str]):
    """A line of a table by column name, which knows where it stands (`where` = "file:line")."""

    where: str = ""

    def number(self, column: str) -> float | None:
        """The value of `column` as a number; None where it is absent or empty.

        Raises:
            UserError: it is no finite number.
        """
        text = self.get(column, "")
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not abs(value) < float("inf"):
            raise UserError(f"{self.where}: column {column!r} holds {text!r}; expected a finite number.")
        return value


def read_csv(path: Path, need: Iterable[str], known: Iterable[str] | None = None) -> list[Row]:
    """Read a CSV or TSV file with a header line.

    Args:
        path: the file; a tab in its header line makes it a TSV. UTF-8, with or without a byte order mark.
        need: columns that must be there and be filled in every row.
        known: every column that may be there; None accepts others too.

    Raises:
        UserError: no such file, no rows, a missing or unknown column, a row with too many fields or an empty needed one.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{path}: no such file; expected a CSV or TSV table with a header line.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error}). Convert it, for instance: iconv -f latin1 -t utf-8 {path.name}") from None
    tab = "\t" in text.partition("\n")[0]
    # Quotes are part of TSV values (transcripts are full of them), while CSV needs them for commas.
    reader = csv.reader(text.splitlines(), delimiter="\t" if tab else ",", quoting=csv.QUOTE_NONE if tab else csv.QUOTE_MINIMAL)
    header = [name.strip() for name in next(reader, [])]
    check_header(path, header, list(need), known)
    rows = []
    for fields in reader:
        where = f"{path}:{reader.line_num}"
        if not any(field.strip() for field in fields):
            continue
        if len(fields) > len(header):
            raise UserError(
                f"{where}: {len(fields)} fields, but the header names {len(header)}. Quote fields that hold a separator."
            )
        row = Row(zip(header, (field.strip() for field in fields), strict=False))
        row.where = where
        for column in need:
            if not row.get(column):
                raise UserError(f"{where}: column {column!r} is empty; every row needs it.")
        rows.append(row)
    if not rows:
        raise UserError(f"{path}: a header and no rows.")
    return rows


def check_header(path: Path, header: list[str], need: list[str], known: Iterable[str] | None) -> None:
    """Refuse a header with missing, unknown or doubled columns (UserError)."""
    for column in need:
        if column not in header:
            raise UserError(
                f"{path}:1: no column {column!r}; the header has {', '.join(header) or 'nothing'}.{nearest(column, header)}"
            )
    names = header if known is None else list(known)
    for column in header:
        if column not in names:
            raise UserError(f"{path}:1: unknown column {column!r}.{nearest(column, names)} Known are {', '.join(names)}.")
        if header.count(column) > 1:
            raise UserError(f"{path}:1: column {column!r} stands there twice.")
