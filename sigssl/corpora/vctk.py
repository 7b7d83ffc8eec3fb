"""VCTK: 110 speakers of English with various accents, 48 kHz (Yamagishi, Veaux, MacDonald; Edinburgh DataShare 10283/3443)."""

from __future__ import annotations

from pathlib import Path

from sigssl.corpora.base import About, Item, find_root, one_line, write_parts
from sigssl.corpora.rows import read_csv
from sigssl.data.datadir import DataDir
from sigssl.errors import UserError

ABOUT = About(
    what="read English sentences with transcripts, 110 speakers, 48 kHz",
    licence="0.92: CC BY 4.0; 0.80: ODC-By 1.0",
    size="44 000 utterances, 44 h, 11 GB",
    example="sigssl prepare vctk --root VCTK-Corpus-0.92 data/vctk --mic mic1",
)
LAYOUTS = ["metadata.csv", "wav48_silence_trimmed", "wav48", "wav16"]


def prepare(root: Path | None, out: Path, mic: str = "mic1") -> dict[str, DataDir]:
    """Write the part `all`; `sigssl split` makes parts by speaker.

    Args:
        root: the published tree, 0.80 (`wav48/`, `txt/`) or 0.92 (`wav48_silence_trimmed/`, `txt/`), or an excerpt with
            `metadata.csv`.
        out: folder to write to.
        mic: which of version 0.92's two microphones, mic1 or mic2.

    Returns:
        Part -> data directory. Speaker p315 (0.80) and others have recordings without transcripts: they are kept, without `text`.
    """
    if mic not in ("mic1", "mic2"):
        raise UserError(f"mic {mic!r}; expected mic1 or mic2.")
    place, mark = find_root(root, "vctk_p239", LAYOUTS)
    if mark == "metadata.csv":
        rows = read_csv(place / mark, ["path", "utt_id", "speaker"])
        items = [Item(r["utt_id"], place / r["path"], r["speaker"], text=one_line(r.get("transcript"))) for r in rows]
    else:
        items = published(place, mark, mic)
    return write_parts(out, {"all": items})


def published(place: Path, mark: str, mic: str) -> list[Item]:
    """The utterances of a published tree: `{mark}/p225/p225_001.wav` or `..._mic1.flac`, `txt/p225/p225_001.txt`."""
    pattern = f"*/*_{mic}.flac" if mark == "wav48_silence_trimmed" else "*/*.wav"
    files = sorted((place / mark).glob(pattern))
    if not files:
        raise UserError(f"{place / mark}: no files match {pattern}. Unpack the corpus there, or choose another --mic.")
    items = []
    for path in files:
        name = path.stem.removesuffix(f"_{mic}")
        transcript = place / "txt" / path.parent.name / f"{name}.txt"
        text = one_line(transcript.read_text(encoding="utf-8")) if transcript.exists() else None
        items.append(Item(name, path, path.parent.name, text=text))
    return items
