"""Nights as features of epochs with stages: the layout of `sleepedf_bandpower_sc153` (records.csv + records/*.npz)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float32, Int64

from sigssl.data.stages import STAGES
from sigssl.errors import UserError

TABLE = "records.csv"
NEEDED = ("path", "record", "subject")


@dataclass(frozen=True)
class Night:
    """One night.

    Attributes:
        id: of the recording.
        subject: whose night it is.
        features: [epochs, F], or the signal [channels, samples] where an encoder is trained on.
        stages: 0 to 4 for W, N1, N2, N3, R; -1 unscored [epochs].
    """

    id: str
    subject: str
    features: Float32[np.ndarray, "a b"]
    stages: Int64[np.ndarray, " epochs"]

    def with_features(self, features: Float32[np.ndarray, "a b"]) -> Night:
        """The same night, seen through other features."""
        return replace(self, features=features)


def read_feature_nights(root: str | Path) -> list[Night]:
    """Read a folder of feature nights.

    Args:
        root: holds `records.csv` (columns path, record, subject) and the `.npz` files it names, each with `features`
            [epochs, ...] and `labels` [epochs]: 0 to 4 for W, N1, N2, N3, R; anything below 0 is unscored.

    Returns:
        The nights in the order of their ids, features flattened to [epochs, F].

    Raises:
        UserError: a missing file or column, an id twice, lengths that differ, a label above 4, a feature that is no number.
    """
    table = Path(root) / TABLE
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{table}: no such file; expected a table with columns {', '.join(NEEDED)}.") from None
    if not rows or any(name not in rows[0] for name in NEEDED):
        raise UserError(
            f"{table}: expected columns {', '.join(NEEDED)} and a row for every night, got {list(rows[0]) if rows else []}."
        )
    nights = [_read(Path(root), row, f"{table}:{line}") for line, row in enumerate(rows, 2)]
    ids = [night.id for night in nights]
    if len(set(ids)) < len(ids):
        raise UserError(f"{table}: record {next(i for i in ids if ids.count(i) > 1)!r} is there twice.")
    widths = {night.features.shape[1] for night in nights}
    if len(widths) > 1:
        raise UserError(f"{table}: nights have different numbers of features: {sorted(widths)}.")
    return sorted(nights, key=lambda night: night.id)


def _read(root: Path, row: dict[str, str], where: str) -> Night:
    path = root / row["path"]
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            features, labels = np.asarray(file["features"], np.float32), np.asarray(file["labels"], np.int64)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise UserError(f"{where}: {path} cannot be read ({error}); expected an .npz with `features` and `labels`.") from error
    if features.ndim < 2 or len(features) != len(labels) or not len(labels):
        raise UserError(
            f"{path}: features {features.shape} and labels {labels.shape} do not go together: one label for each epoch."
        )
    if labels.max() >= len(STAGES):
        raise UserError(f"{path}: label {labels.max()}; expected 0 to 4 for {', '.join(STAGES)}, below 0 where unscored.")
    if not np.isfinite(features).all():
        raise UserError(f"{path}: {int((~np.isfinite(features)).sum())} features are NaN or infinite.")
    return Night(row["record"], row["subject"], features.reshape(len(features), -1), np.maximum(labels, -1))


def subjects_of(nights: Sequence[Night]) -> list[str]:
    """The subjects, sorted, each once."""
    return sorted({night.subject for night in nights})
