"""LJSpeech: one speaker reading 13 100 passages, 22.05 kHz (Ito and Johnson 2017, keithito.com/LJ-Speech-Dataset)."""

from __future__ import annotations

from pathlib import Path

from sigssl.corpora.base import About, Item, find_root, one_line, write_parts
from sigssl.corpora.rows import read_csv
from sigssl.data.datadir import DataDir
from sigssl.errors import UserError

ABOUT = About(
    what="read English by one speaker, 22.05 kHz, for unlabelled pretraining or ASR",
    licence="public domain",
    size="13100 utterances, 24 h, 2.6 GB",
    example="sigssl prepare ljspeech --root LJSpeech-1.1 data/lj",
)


def prepare(root: Path | None, out: Path) -> dict[str, DataDir]:
    """Write the part `all`.

    Args:
        root: the published folder (`metadata.csv` with `id|text|normalised text`, `wavs/`), or an excerpt with a CSV and `audio/`.
        out: folder to write to.

    Returns:
        Part -> data directory; the one speaker is called `LJ`, `text` is the normalised one.
    """
    place, _ = find_root(root, "ljspeech_excerpt", ["metadata.csv"])
    table = place / "metadata.csv"
    if table.read_text(encoding="utf-8-sig").startswith("path,"):
        pairs = [(place / row["path"], row.get("transcript")) for row in read_csv(table, ["path"])]
    else:
        pairs = published(place, table)
    return write_parts(out, {"all": [Item(path.stem, path, "LJ", text=one_line(text)) for path, text in pairs]})


def published(place: Path, table: Path) -> list[tuple[Path, str | None]]:
    """Files and texts of the published table; fields are parted by bars and quotes stand for themselves."""
    pairs: list[tuple[Path, str | None]] = []
    for number, line in enumerate(table.read_text(encoding="utf-8-sig").splitlines(), 1):
        fields = line.split("|")
        if len(fields) not in (2, 3):
            raise UserError(f"{table}:{number}: {len(fields)} fields; expected 'id|text|normalised text'.")
        pairs.append((place / "wavs" / f"{fields[0]}.wav", fields[-1]))
    return pairs
