"""LibriSpeech: 1000 h of read English, 16 kHz (Panayotov, Chen, Povey, Khudanpur 2015; openslr.org/12), and its excerpt (/31)."""

from __future__ import annotations

from pathlib import Path

from sigssl.corpora.base import About, Item, write_parts
from sigssl.corpora.download import Archive, fetch
from sigssl.data.datadir import DataDir
from sigssl.data.io import read_table
from sigssl.errors import UserError, nearest

ABOUT = About(
    what="read English with transcripts, 2484 speakers, 16 kHz; mini_librispeech: its 7-h excerpt",
    licence="CC BY 4.0",
    size="1000 h, 60 GB; mini: 7 h, 0.5 GB",
    example="sigssl prepare librispeech --root LibriSpeech --subsets train-clean-100,dev-clean data/librispeech",
)
MINI = ("train-clean-5", "dev-clean-2")
OPENSLR = "https://www.openslr.org/resources"
# MD5 sums as openslr.org/resources/{12,31}/md5sum.txt publish them; sizes in MB as the pages show them
ARCHIVES = {
    "dev-clean": Archive(f"{OPENSLR}/12/dev-clean.tar.gz", "42e2234ba48799c1f50f24a7926300a1", 337),
    "dev-other": Archive(f"{OPENSLR}/12/dev-other.tar.gz", "c8d0bcc9cca99d4f8b62fcc847357931", 314),
    "test-clean": Archive(f"{OPENSLR}/12/test-clean.tar.gz", "32fa31d27d2e1cad72775fee3f4849a9", 346),
    "test-other": Archive(f"{OPENSLR}/12/test-other.tar.gz", "fb5a50374b501bb3bac4815ee91d3135", 328),
    "train-clean-100": Archive(f"{OPENSLR}/12/train-clean-100.tar.gz", "2a93770f6d5c6c964bc36631d331a522", 6387),
    "train-clean-360": Archive(f"{OPENSLR}/12/train-clean-360.tar.gz", "c0e676e450a7ff2f54aeade5171606fa", 23049),
    "train-other-500": Archive(f"{OPENSLR}/12/train-other-500.tar.gz", "d1a0fd59409feb2c614ce4d30c387708", 30593),
    "train-clean-5": Archive(f"{OPENSLR}/31/train-clean-5.tar.gz", "5df7d4e78065366204ca6845bb08f490", 332),
    "dev-clean-2": Archive(f"{OPENSLR}/31/dev-clean-2.tar.gz", "6d7ab67ac6a1d2c993d050e16d61080d", 126),
}


def prepare(
    root: Path | None, out: Path, subsets: str = "found", download: bool = False, keep_archives: bool = False, nj: int = 4
) -> dict[str, DataDir]:
    """Write one part per subset.

    Args:
        root: the folder `LibriSpeech`, or the one that holds it; downloads are unpacked there.
        out: folder to write to.
        subsets: names joined by commas (`train-clean-100,dev-clean`), `mini` for the two of mini_librispeech, `found` for all
            that are in root.
        download: fetch subsets that root lacks from openslr.org, checked by MD5; an interrupted download goes on where it stopped.
        keep_archives: keep the .tar.gz files after unpacking.
        nj: how many files are opened at a time to read their durations.

    Returns:
        Subset -> data directory; ids are LibriSpeech's own (reader-chapter-number), the speaker is the reader.
    """
    if root is None:
        raise UserError("librispeech needs --root: the folder LibriSpeech (or where it shall be unpacked, with --download).")
    names = chosen(subsets)
    base = root / "LibriSpeech" if (root / "LibriSpeech").is_dir() or root.name != "LibriSpeech" else root
    if download:
        for name in [n for n in names if not (base / n).is_dir()]:
            fetch(ARCHIVES[name], base.parent, f"LibriSpeech/{name}", ABOUT.licence, keep_archives)
    there = [name for name in names or ARCHIVES if (base / name).is_dir()]
    if lacking := [name for name in names if name not in there] or (not there and ["any subset"]):
        raise UserError(
            f"{base}: lacks {', '.join(lacking)}; looked for {', '.join(str(base / n) for n in names or ARCHIVES)}. "
            f"Check --root, or add --download with --subsets NAMES ({ABOUT.licence}, "
            + ", ".join(f"{n} {ARCHIVES[n].megabytes} MB" for n in names or MINI)
            + ")."
        )
    return write_parts(out, {name: utterances(base / name) for name in there}, nj)


def chosen(subsets: str) -> list[str]:
    """The subsets that the option names; empty for `found`.

    Raises:
        UserError: an unknown name, with the nearest known one.
    """
    if subsets == "found":
        return []
    names = list(MINI) if subsets == "mini" else [name.strip() for name in subsets.split(",") if name.strip()]
    for name in names:
        if name not in ARCHIVES:
            raise UserError(f"no subset {name!r}.{nearest(name, ARCHIVES)} Known are {', '.join(ARCHIVES)}, mini and found.")
    return names


def utterances(subset: Path) -> list[Item]:
    """The utterances of a subset, from its transcript files `reader/chapter/reader-chapter.trans.txt`."""
    items = []
    for transcript in sorted(subset.glob("*/*/*.trans.txt")):
        reader = transcript.parent.parent.name
        for name, text in read_table(transcript).items():
            items.append(Item(name, transcript.parent.absolute() / f"{name}.flac", reader, text=text))
    if not items:
        raise UserError(f"{subset}: no reader/chapter/*.trans.txt in it. Unpack the subset again.")
    return items
