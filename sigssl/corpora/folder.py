"""Anyone's own recordings: a folder of audio files, or of nights, searched through."""

from __future__ import annotations

import os
import re
from pathlib import Path

import soundfile

from sigssl.corpora import folder_psg
from sigssl.corpora.base import About, Item, speaker_first, token, write_parts
from sigssl.corpora.psg_tree import write_nights
from sigssl.data.datadir import DataDir
from sigssl.data.psg import SUFFIXES as PSG_SUFFIXES
from sigssl.errors import UserError

ABOUT = About(
    what="your own folder of audio, or of EDF and other EEG files with their hypnograms, searched through",
    licence="yours",
    size="any",
    example="sigssl prepare folder --root recordings --label parent data/mine",
)
SUFFIXES = frozenset(f".{name.lower()}" for name in (*soundfile.available_formats(), "aif", "opus", "oga", "sph")) - {".raw"}


def prepare(
    root: Path | None,
    out: Path,
    speaker: str = "parent",
    label: str = "none",
    kind: str = "auto",
    epoch: float = 30.0,
    minutes: float = 30.0,
    nj: int = 4,
) -> dict[str, DataDir]:
    r"""Write the part `all`.

    Args:
        root: the folder. Every audio file below it that libsndfile reads becomes an utterance; or every EDF, BDF, BrainVision,
            EEGLAB or FIF file a night. A night's hypnogram is the one file whose name begins as the recording's and goes on
            as hypnograms do (`a.edf` and `a-Hypnogram.edf`, `a_events.tsv`, `a-nsrr.xml`, `a.txt` ...), wherever it lies; a night
            without is kept unscored. Hidden files are passed over.
        out: folder to write to.
        speaker: `parent` (the file's folder), `none` (each file its own speaker), or a regular expression with one group,
            searched in the path from root, such as `(p\d+)_`.
        label: as speaker; the group becomes the class in utt2label (of audio).
        kind: audio, psg, or auto: whichever of them the folder holds.
        epoch: seconds of an epoch of the hypnograms.
        minutes: of a scored night, kept before the first and after the last epoch of sleep; below 0 all is kept.
        nj: how many files are opened at a time to read their durations.

    Returns:
        Part -> data directory; ids are `speaker-path`, with `_` between folders.

    Raises:
        UserError: no folder, no audio or nights in it, both with `auto`, or an expression that is none or does not match a path.
    """
    if root is None or not root.is_dir():
        raise UserError(f"folder needs --root: a folder of recordings; {root} is none.")
    if kind not in ("auto", "audio", "psg"):
        raise UserError(f"kind {kind!r}; expected auto, audio or psg.")
    root = root.absolute()
    everything = sorted(Path(top) / name for top, _, names in os.walk(root, followlinks=True) for name in names)
    seen = [path for path in everything if not any(part.startswith(".") for part in path.relative_to(root).parts)]
    files = [path for path in seen if path.suffix.lower() in SUFFIXES]
    nights = folder_psg.recordings(seen) if kind != "audio" else []
    if kind == "auto" and files and nights:
        raise UserError(f"{root}: holds audio ({files[0].name}) and nights ({nights[0].name}); say which: --kind audio or psg.")
    if nights:
        found = [(path, *named(path.relative_to(root), speaker)) for path in nights]
        return write_nights(out, {"all": folder_psg.items(found, seen, epoch)}, (), minutes, nj)
    if not files or kind == "psg":
        known = " ".join(sorted({"audio": SUFFIXES, "psg": PSG_SUFFIXES}.get(kind, SUFFIXES | PSG_SUFFIXES)))
        raise UserError(f"{root}: no {'audio files' if kind == 'audio' else 'recordings'} below it. Known endings: {known}.")
    items = []
    for path in files:
        inside = path.relative_to(root)
        who, name = named(inside, speaker)
        what = None if label == "none" else token(pick(inside, label, "label"))
        items.append(Item(name, path, who, label=what))
    return write_parts(out, {"all": items}, nj)


def named(inside: Path, speaker: str) -> tuple[str, str]:
    """Speaker and id of a file, from its path inside the folder."""
    name = token("_".join(inside.with_suffix("").parts))
    return (name, name) if speaker == "none" else speaker_first(pick(inside, speaker, "speaker"), name)


def pick(inside: Path, rule: str, option: str) -> str:
    """What the rule takes out of a path (UserError when it takes nothing)."""
    if rule == "parent":
        return inside.parent.name or "root"
    try:
        match = re.search(rule, inside.as_posix())
    except re.error as error:
        raise UserError(f"--{option} {rule!r} is no regular expression: {error}.") from None
    if match is None or match.re.groups != 1 or not match[1]:
        raise UserError(
            f"--{option} {rule!r} takes nothing from {inside}; expected one group that matches every path, as '(p\\d+)_'."
        )
    return match[1]
