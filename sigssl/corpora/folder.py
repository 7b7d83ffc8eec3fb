"""Anyone's own recordings: a folder of audio files, searched through."""

from __future__ import annotations

import os
import re
from pathlib import Path

import soundfile

from sigssl.corpora.base import About, Item, speaker_first, token, write_parts
from sigssl.data.datadir import DataDir
from sigssl.errors import UserError

ABOUT = About(
    what="your own folder of audio files, searched through; speaker and label from the path",
    licence="yours",
    size="any",
    example="sigssl prepare folder --root recordings --label parent data/mine",
)
SUFFIXES = frozenset(f".{name.lower()}" for name in (*soundfile.available_formats(), "aif", "opus", "oga", "sph")) - {".raw"}


def prepare(root: Path | None, out: Path, speaker: str = "parent", label: str = "none", nj: int = 4) -> dict[str, DataDir]:
    r"""Write the part `all`.

    Args:
        root: the folder; every audio file below it that libsndfile reads becomes an utterance. Hidden files are passed over.
        out: folder to write to.
        speaker: `parent` (the file's folder), `none` (each file its own speaker), or a regular expression with one group,
            searched in the path from root, such as `(p\d+)_`.
        label: as speaker; the group becomes the class in utt2label.
        nj: how many files are opened at a time to read their durations.

    Returns:
        Part -> data directory; ids are `speaker-path`, with `_` between folders.

    Raises:
        UserError: no folder, no audio in it, or an expression that is none or does not match a path.
    """
    if root is None or not root.is_dir():
        raise UserError(f"folder needs --root: a folder of audio files; {root} is none.")
    root = root.absolute()
    files = sorted(
        Path(top) / name for top, _, names in os.walk(root, followlinks=True) for name in names if wanted(root, Path(top) / name)
    )
    if not files:
        raise UserError(f"{root}: no audio files below it. Known endings: {' '.join(sorted(SUFFIXES))}.")
    items = []
    for path in files:
        inside = path.relative_to(root)
        name = token("_".join(inside.with_suffix("").parts))
        who, name = (name, name) if speaker == "none" else speaker_first(pick(inside, speaker, "speaker"), name)
        what = None if label == "none" else token(pick(inside, label, "label"))
        items.append(Item(name, path, who, label=what))
    return write_parts(out, {"all": items}, nj)


def wanted(root: Path, path: Path) -> bool:
    """Whether a file is audio by its ending, and not hidden."""
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.relative_to(root).parts)


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
