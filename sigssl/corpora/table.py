"""Anyone's own recordings, listed in a CSV or TSV table."""

from __future__ import annotations

from pathlib import Path

from sigssl.corpora.base import About, Item, one_line, speaker_first, token, write_parts
from sigssl.corpora.rows import Row, read_csv
from sigssl.data.datadir import DataDir
from sigssl.errors import UserError

ABOUT = About(
    what="your own files, listed in a CSV or TSV (path; id, speaker, text, label, start, end, part as you have them)",
    licence="yours",
    size="any",
    example="sigssl prepare table --root mine.csv data/mine",
)
COLUMNS = ["path", "id", "speaker", "text", "label", "start", "end", "part"]


def prepare(
    root: Path | None, out: Path, audio_root: Path | None = None, extra_columns: bool = False, nj: int = 4
) -> dict[str, DataDir]:
    """Write one part per value of the column `part`; without that column, the part `all`.

    Args:
        root: the table. Columns: path, and where you have them id, speaker, text, label, start and end (seconds), part.
        out: folder to write to.
        audio_root: folder that relative paths start from; by default the table's own.
        extra_columns: ignore columns of other names instead of refusing them.
        nj: how many files are opened at a time to read their durations.

    Returns:
        Part -> data directory. Ids are the column `id`, by default the file's stem (with the start in ms for a cut), and begin
        with the speaker, as Kaldi's sorting needs (`speaker-id`; hyphens in speakers become `_`). Without a column `speaker`
        every utterance is its own speaker.

    Raises:
        UserError: with file and line: a missing file, an id twice, times that make no sense, unknown columns.
    """
    if root is None:
        raise UserError("table needs --root: the CSV or TSV file that lists the recordings.")
    rows = read_csv(root, ["path"], None if extra_columns else COLUMNS)
    base = (audio_root or root.parent).absolute()
    parts: dict[str, list[Item]] = {}
    first: dict[str, str] = {}
    for row in rows:
        item = utterance(row, base)
        if item.id in first:
            raise UserError(
                f"{row.where}: id {item.id!r} again; it was given in {first[item.id]}. Fill a column 'id' with unique names."
            )
        first[item.id] = row.where
        parts.setdefault(token(row.get("part") or "all"), []).append(item)
    return write_parts(out, parts, nj)


def utterance(row: Row, base: Path) -> Item:
    """The item of one row.

    Raises:
        UserError: the file is missing, or start and end make no cut.
    """
    path = base / row["path"]
    if not path.is_file():
        raise UserError(f"{row.where}: no file {path}. Paths start from {base}; --audio-root changes that.")
    start, end = row.number("start") or 0.0, row.number("end")
    if start < 0 or (end is not None and end <= start):
        raise UserError(f"{row.where}: start {start:g} and end {end} make no cut; expected 0 <= start < end, in seconds.")
    cut = f"-{round(start * 1000):07d}" if start > 0 or end is not None else ""
    name = token(row.get("id") or f"{path.stem}{cut}")
    speaker = name
    if "speaker" in row:
        if not row["speaker"]:
            raise UserError(
                f"{row.where}: column 'speaker' is empty here; fill it, or leave the column out if speakers are unknown."
            )
        speaker, name = speaker_first(row["speaker"], name)
    return Item(name, path, speaker, one_line(row.get("text")), token(row["label"]) if row.get("label") else None, start, end)
