"""CMU AN4: spelled words, numbers and dates by 84 speakers, 16 kHz (Acero 1990; www.speech.cs.cmu.edu/databases/an4)."""

from __future__ import annotations

import re
from pathlib import Path

from sigssl.corpora.base import About, Item, find_root, one_line, write_parts
from sigssl.corpora.rows import read_csv
from sigssl.data.datadir import DataDir
from sigssl.data.io import write_text
from sigssl.errors import UserError

ABOUT = About(
    what="alphanumeric utterances with transcripts and a pronunciation dictionary, 84 speakers, 16 kHz",
    licence="CMU, BSD-style: free for any purpose, keep the notice",
    size="1078 utterances, 50 min, 64 MB",
    example="sigssl prepare an4 --root an4 data/an4",
)
PARTS = ("train", "test")
TRANSCRIPTION = re.compile(r"(?:<s>)?\s*(?P<text>.*?)\s*(?:</s>)?\s*\((?P<id>[^()\s]+)\)\s*$")
SUFFIXES = (".wav", ".flac", ".sph")


def prepare(root: Path | None, out: Path) -> dict[str, DataDir]:
    """Write the parts `all`, `train` and `test` (AN4's own) and the dictionary `lexicon.txt` in Kaldi's form.

    Args:
        root: the published folder (`etc/an4_train.{fileids,transcription}`, `wav/`), or an excerpt with `metadata.csv`.
        out: folder to write to.

    Returns:
        Part -> data directory; ids are `speaker-utterance`. Utterances without transcript are kept, without `text`.
    """
    place, mark = find_root(root, "an4", ["metadata.csv", "etc/an4_train.fileids"])
    parts = excerpt(place) if mark == "metadata.csv" else {part: published(place, part) for part in PARTS}
    made = write_parts(out, {"all": [item for part in PARTS for item in parts[part]], **parts})
    dictionary = place / "etc" / "an4.dic"
    if dictionary.exists():
        write_text(out / "lexicon.txt", lexicon(dictionary.read_text(encoding="utf-8")))
    return made


def excerpt(place: Path) -> dict[str, list[Item]]:
    """The parts of an excerpt: its column `source` tells the folder of the original file, and so the part."""
    parts: dict[str, list[Item]] = {part: [] for part in PARTS}
    for row in read_csv(place / "metadata.csv", ["path", "utt_id", "speaker", "source"]):
        part = "test" if re.search(r"an4test|/test/", row["source"]) else "train"
        text = one_line(row.get("transcript"))
        parts[part].append(Item(f"{row['speaker']}-{row['utt_id']}", place / row["path"], row["speaker"], text=text))
    return parts


def published(place: Path, part: str) -> list[Item]:
    """A part of the published tree; `fileids` names the files (`an4_clstk/fash/an251-fash-b`), `transcription` their texts."""
    listed = place / "etc" / f"an4_{part}.fileids"
    texts = transcripts(place / "etc" / f"an4_{part}.transcription")
    items = []
    for name in listed.read_text(encoding="utf-8").split():
        stem = place / "wav" / name
        path = next((p for suffix in SUFFIXES if (p := stem.with_name(stem.name + suffix)).exists()), None)
        if path is None:
            raise UserError(
                f"{listed}: {name} is listed, but neither {', '.join(stem.name + s for s in SUFFIXES)} is in {stem.parent}."
            )
        speaker = stem.parent.name
        items.append(Item(f"{speaker}-{stem.name}", path, speaker, text=texts.get(stem.name)))
    return items


def transcripts(path: Path) -> dict[str, str | None]:
    """Utterance -> text of a Sphinx transcription file: `<s> HELLO </s> (id)`.

    Raises:
        UserError: a line without id; file and line are named.
    """
    texts = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = TRANSCRIPTION.match(line)
        if match is None:
            raise UserError(f"{path}:{number}: expected 'TEXT (utterance-id)', found {line!r}.")
        texts[match["id"]] = one_line(match["text"])
    return texts


def lexicon(text: str) -> str:
    """Kaldi's `word phone phone ...` lines from a Sphinx dictionary, whose variants are written `A(2)`."""
    lines = (re.sub(r"\(\d+\)", "", line, count=1).split() for line in text.splitlines())
    return "".join(f"{line}\n" for line in sorted({" ".join(words) for words in lines if words}))
