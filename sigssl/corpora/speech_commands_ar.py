"""Arabic Speech Commands: 40 keywords by 30 speakers, 16 kHz (Ghandoura, Hjabo, Al Dakkak 2021)."""

from __future__ import annotations

from pathlib import Path

from sigssl.corpora.base import About, Item, find_root, write_parts
from sigssl.corpora.rows import read_csv
from sigssl.data.datadir import DataDir
from sigssl.errors import UserError

ABOUT = About(
    what="Arabic keywords, label = keyword, 30 speakers, 16 kHz, split by speaker",
    licence="CC BY 4.0",
    size="12000 clips of 1 s, 3.3 h, 384 MB",
    example="sigssl prepare speech_commands_ar --root arabic-speech-commands-dataset data/commands",
)
PARTS = {"train": "train", "val": "dev", "test": "test"}  # upstream's names -> ours


def prepare(root: Path | None, out: Path) -> dict[str, DataDir]:
    """Write the parts `train`, `dev` and `test` with upstream's speakers in each.

    Args:
        root: the upstream repository (`train.csv`, `val.csv`, `test.csv`, `dataset/`), or a subset with `metadata.csv`.
        out: folder to write to.

    Returns:
        Part -> data directory; ids are `speaker-keyword-take`, `utt2label` is the keyword.
    """
    place, mark = find_root(root, "speech_commands_ar", ["metadata.csv", "train.csv"])
    parts: dict[str, list[Item]] = {part: [] for part in PARTS.values()}
    if mark == "metadata.csv":
        for row in read_csv(place / mark, ["path", "split"]):
            if row["split"] not in PARTS:
                raise UserError(f"{row.where}: split {row['split']!r}; expected {', '.join(PARTS)}.")
            parts[PARTS[row["split"]]].append(clip(place / row["path"]))
    else:
        for name, part in PARTS.items():
            parts[part] = [clip(place / row["file"]) for row in read_csv(place / f"{name}.csv", ["file"])]
    return write_parts(out, parts)


def clip(path: Path) -> Item:
    """An item from `keyword/SSSSSSSS_NO_TT.wav`: the file name begins with the speaker and ends with the take."""
    fields, keyword = path.stem.split("_"), path.parent.name
    if not (len(fields) > 1 and fields[0].isdigit() and fields[-1].isdigit()):
        raise UserError(f"{path}: not named SPEAKER_NO_TAKE (as 00000021_NO_06.wav). Remove it from the table or rename it.")
    speaker = f"spk{int(fields[0]):02d}"
    return Item(f"{speaker}-{keyword}-{int(fields[-1]):02d}", path, speaker, label=keyword)
