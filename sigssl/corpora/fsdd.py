"""Free Spoken Digit Dataset: digits 0-9 by six speakers, 8 kHz (github.com/Jakobovski/free-spoken-digit-dataset)."""

from __future__ import annotations

import re
from pathlib import Path

from sigssl.corpora.base import About, Item, find_root, write_parts
from sigssl.corpora.rows import read_csv
from sigssl.data.datadir import DataDir
from sigssl.errors import UserError

ABOUT = About(
    what="spoken digits, label = digit, 6 speakers, 8 kHz",
    licence="CC BY-SA 4.0",
    size="3000 clips, 22 min, 16 MB",
    example="sigssl prepare fsdd --root free-spoken-digit-dataset data/digits",
)
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<take>\d+)$")
TEST_TAKES = 5  # upstream's README, "Usage": takes 0-4 test, the others train


def prepare(root: Path | None, out: Path) -> dict[str, DataDir]:
    """Write the parts `all`, `train` and `test` (upstream's: takes 0-4 of every digit and speaker are the test).

    Args:
        root: folder with `recordings/{digit}_{speaker}_{take}.wav` (upstream), or with `metadata.csv` and `audio/`.
        out: folder to write to.

    Returns:
        Part -> data directory; ids are `speaker-digit-take`, `utt2label` is the digit, `text` its word.
    """
    found = clips(root)
    test = [item for item, take in found if take < TEST_TAKES]
    train = [item for item, take in found if take >= TEST_TAKES]
    return write_parts(out, {"all": [item for item, _ in found], "train": train, "test": test})


def clips(root: Path | None) -> list[tuple[Item, int]]:
    """Every clip with the number of its take.

    Raises:
        UserError: no corpus there, or a file that is not named as its are.
    """
    place, mark = find_root(root, "speech_digits", ["metadata.csv", "recordings"])
    if mark == "metadata.csv":
        files = [place / row["path"] for row in read_csv(place / mark, ["path", "digit", "speaker", "take"])]
    else:
        files = sorted(p for p in (place / mark).iterdir() if p.suffix in (".wav", ".flac"))
    found = []
    for path in files:
        match = NAME.match(path.stem)
        if match is None:
            raise UserError(f"{path}: not named {{digit}}_{{speaker}}_{{take}}. Remove it or rename it.")
        digit, speaker, take = match["digit"], match["speaker"], int(match["take"])
        found.append((Item(f"{speaker}-{digit}-{take:02d}", path, speaker, text=WORDS[int(digit)], label=digit), take))
    return found
