"""What a feature store holds and how it was made: feats.json beside feats.scp."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from sigssl.data.io import read_json, write_json
from sigssl.errors import UserError, nearest

MOST_SHOWN = 12  # settings that an error lists: fixed statistics have two for each dimension


@dataclass(frozen=True)
class StoreInfo:
    """The description of a store.

    Attributes:
        kind: `features`, `embeddings`, `signal`, ...
        dim: columns of every matrix.
        frame_shift: seconds from one row to the next; None where rows are no frames (pooled embeddings).
        sample_rate: of the recordings that it was made from, in hertz.
        unit: of the numbers (`ln power`, `microvolt`), "" where there is none.
        config: what computed it, as :func:`sigssl.config.describe` says it, with whatever else decides the numbers.
        channels: names of the columns, where they have names.
    """

    kind: str
    dim: int
    frame_shift: float | None
    sample_rate: int
    unit: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    channels: list[str] = field(default_factory=list)

    def write(self, folder: Path | str, name: str = "feats") -> None:
        """Write `name.json` into the folder of the store, whole."""
        write_json(Path(folder) / f"{name}.json", asdict(self))

    @classmethod
    def read(cls, folder: Path | str, name: str = "feats") -> StoreInfo:
        """Read `name.json` of a folder.

        Raises:
            UserError: it is absent, or has keys that it should not have or lacks some.
        """
        path = Path(folder) / f"{name}.json"
        if not path.exists():
            raise UserError(
                f"{path}: no such file, so it is not known how these features were made. Compute them with 'sigssl features', or "
                f"write the file for features from elsewhere: kind, dim, frame_shift (seconds), sample_rate, unit, config."
            )
        content = read_json(path)
        if not isinstance(content, dict):
            raise UserError(f"{path}: expected an object with kind, dim, frame_shift, sample_rate; got {type(content).__name__}.")
        known = {f.name for f in fields(cls)}
        for key in content.keys() - known:
            raise UserError(f"{path}: unknown key {key!r}.{nearest(key, known)}")
        missing = sorted({"kind", "dim", "frame_shift", "sample_rate"} - content.keys())
        if missing:
            raise UserError(f"{path}: lacks {', '.join(missing)}.")
        return cls(**content)

    def check(self, other: StoreInfo, where: str = "these features", needs: str = "what is wanted") -> None:
        """Refuse features that were made otherwise.

        Args:
            other: what is needed: a model's, or the store's to which this one is added.
            where: what `self` describes, named first in the message.
            needs: what `other` describes.

        Raises:
            UserError: naming the settings that differ, with both values.
        """
        mine, theirs = dict(_flat("", asdict(self))), dict(_flat("", asdict(other)))
        different = [
            f"  {key}: {mine.get(key, 'absent')!r} in {where}, {theirs.get(key, 'absent')!r} in {needs}"
            for key in sorted(mine.keys() | theirs.keys())
            if mine.get(key, _ABSENT) != theirs.get(key, _ABSENT)
        ]
        if different:
            more = f"\n  ... and {len(different) - MOST_SHOWN} more" if len(different) > MOST_SHOWN else ""
            listed = "\n".join(different[:MOST_SHOWN]) + more
            raise UserError(
                f"{where} and {needs} were not made alike:\n{listed}\nCompute the features anew with the same settings."
            )


_ABSENT = object()


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Dotted key and plain value of everything in nested dicts and lists."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, (list, tuple)) and value:
        for number, inner in enumerate(value):
            yield from _flat(f"{prefix}[{number}]", inner)
    else:
        yield prefix, list(value) if isinstance(value, tuple) else value
