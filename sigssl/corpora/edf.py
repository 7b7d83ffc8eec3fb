"""Arrays of microvolts as EDF files, for data sets that are published as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sigssl.data.io import whole
from sigssl.optional import require


def write_edf(
    path: Path, labels: Sequence[str], samples: np.ndarray, rate: float, annotations: Sequence[tuple[float, float | None, str]] = ()
) -> None:
    """Write signals of one rate as EDF in records of a second; the last is filled up with the last sample.

    Args:
        path: of the file, written whole.
        labels: of the signals.
        samples: [signals, samples] in microvolts; kept in steps of each signal's range / 65,535.
        rate: samples per second.
        annotations: onset and duration in seconds (None: has none), text; with any the file is EDF+.

    Raises:
        MissingExtraError: edfio is not installed.
    """
    edfio = require("edfio", "to write EDF files")
    filled = np.pad(samples, ((0, 0), (0, -samples.shape[1] % round(rate))), mode="edge")
    signals = []
    for label, row in zip(labels, filled, strict=True):
        most = max(float(np.ceil(np.abs(row).max())), 1.0)
        signals.append(edfio.EdfSignal(row, rate, label=label, physical_dimension="uV", physical_range=(-most, most)))
    notes = [edfio.EdfAnnotation(*one) for one in annotations]
    with whole(path) as temporary:
        edfio.Edf(signals, annotations=notes).write(temporary)
