"""Mini LibriSpeech: `train-clean-5` and `dev-clean-2`, an excerpt of LibriSpeech for tests of recipes (openslr.org/31)."""

from __future__ import annotations

from pathlib import Path

from sigssl.corpora import librispeech
from sigssl.corpora.base import About
from sigssl.data.datadir import DataDir

ABOUT = About(
    what="read English with transcripts: 5 h to train, 2 h to test on, 16 kHz",
    licence="CC BY 4.0",
    size="2600 utterances, 7 h, 458 MB",
    example="sigssl prepare mini_librispeech --root downloads --download data/mini",
)


def prepare(root: Path | None, out: Path, download: bool = False, keep_archives: bool = False, nj: int = 4) -> dict[str, DataDir]:
    """Write the parts `train-clean-5` and `dev-clean-2`.

    Args:
        root: the folder `LibriSpeech`, or the one that holds it; downloads are unpacked there.
        out: folder to write to.
        download: fetch what root lacks from openslr.org, checked by MD5; an interrupted download goes on where it stopped.
        keep_archives: keep the .tar.gz files after unpacking.
        nj: how many files are opened at a time to read their durations.

    Returns:
        As :func:`sigssl.corpora.librispeech.prepare`.
    """
    return librispeech.prepare(root, out, "mini", download, keep_archives, nj)
