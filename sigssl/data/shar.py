"""lhotse Shar as a data directory: `cuts.NNNNNN.jsonl.gz` beside `recording.NNNNNN.tar`, read in place.

Only the manifests are read; audio stays in its tar and is found there by its number when it is wanted (:mod:`sigssl.data.tar`).
A cut is an utterance. Features in Shar are left alone.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sigssl.data.datadir import DataDir
from sigssl.data.supervisions import describe_utterance
from sigssl.data.tar import place_of
from sigssl.errors import UserError

PREFIX = "shar:"


def shar_folder(path: Path | str) -> Path | None:
    """The folder of `shar:DIR`, or of a folder that holds Shar and no wav.scp; None for anything else."""
    named = str(path)
    if named.startswith(PREFIX):
        return Path(named[len(PREFIX) :])
    folder = Path(path)
    return folder if folder.is_dir() and not (folder / "wav.scp").exists() and manifests(folder) else None


def manifests(folder: Path) -> list[Path]:
    """The manifests of the cuts, in the order of the shards."""
    return sorted(path for path in folder.glob("cuts.*") if path.name.endswith((".jsonl", ".jsonl.gz")))


def read_shar(folder: Path, label: str = "label") -> DataDir:
    """The cuts of a Shar folder as utterances, audio referred to in its tar files.

    Args:
        folder: with `cuts.*.jsonl.gz` and `recording.*.tar`.
        label: custom field, of the supervision or the cut, that becomes utt2label.

    Raises:
        UserError: no Shar, shards without audio, cuts that are mixed, an id twice or with a space; the file is named.
    """
    shards = manifests(folder) if folder.is_dir() else []
    if not shards:
        raise UserError(
            f"{folder}: no cuts.*.jsonl.gz there, so it is no folder of lhotse Shar ('sigssl lhotse to --shar' makes one)."
        )
    data, notes = DataDir(folder), Counter[str]()
    for shard in shards:
        middle = shard.name.removeprefix("cuts.").removesuffix(".gz").removesuffix(".jsonl")
        tar = (folder / f"recording.{middle}.tar").absolute()
        if not tar.exists():
            raise UserError(
                f"{tar}: is missing beside {shard.name}; audio is read from uncompressed tar files of the field 'recording'."
            )
        for number, cut in enumerate(_cuts(shard)):
            id = str(cut["id"])
            if any(c.isspace() for c in id) or id in data.wav:
                raise UserError(
                    f"{shard}: id {id!r} {'comes twice' if id in data.wav else 'holds a space'}; rename it and write anew."
                )
            if cut.get("type") not in ("MonoCut", "MultiCut"):
                raise UserError(
                    f"{shard}: cut {id!r} is a {cut.get('type')}; Shar of single recordings is read (MonoCut, MultiCut)."
                )
            data.wav[id] = place_of(str(tar), number, id)
            data.utt2dur[id] = float(cut["duration"])
            describe_utterance(data, id, cut.get("supervisions") or [], cut.get("custom") or {}, notes, label)
    return data


def _cuts(shard: Path) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        with shard.open("rb") as file:
            for line in gzip.GzipFile(fileobj=file) if shard.name.endswith(".gz") else file:
                number += 1
                yield json.loads(line)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{shard}:{number}: cannot be read: {error}. Copy it again.") from None
