"""FIF, BrainVision and EEGLAB recordings, through MNE."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from sigssl.data.edf_annotations import Annotation
from sigssl.data.psg_base import PSG, Channel
from sigssl.errors import UserError
from sigssl.optional import require

READERS = {".fif": "read_raw_fif", ".vhdr": "read_raw_brainvision", ".set": "read_raw_eeglab"}
VOLT = 107  # FIFF_UNIT_V
CUTS = ("boundary", "new segment", "edge boundary")  # where parts of a recording were joined, as annotations say it


class MnePSG(PSG):
    """A file that MNE reads lazily; all its channels have one rate.

    Raises:
        UserError: MNE cannot read it.
        MissingExtraError: no MNE.
    """

    def __init__(self, path: Path, assume_unit: str | None) -> None:
        mne = require("mne", f"to read {path.suffix} files")
        notes: list[str] = []
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                self._raw: Any = getattr(mne.io, READERS[path.suffix.lower()])(path, preload=False, verbose="warning")
            except Exception as error:  # whatever a damaged file makes a parser raise
                raise UserError(f"{path}: MNE cannot read it: {type(error).__name__}: {str(error).strip()[:300]}") from None
        notes += [str(warning.message).split("\n")[0] for warning in said]
        info, rate = self._raw.info, float(self._raw.info["sfreq"])
        channels = [Channel(entry["ch_name"], rate, "V" if entry["unit"] == VOLT else "n/a") for entry in info["chs"]]
        duration = self._raw.n_times / rate
        if not self._raw.n_times or not channels:
            raise UserError(f"{path}: holds no samples.")
        start = self._raw.annotations.orig_time or info["meas_date"]
        start = start.replace(tzinfo=None) if start is not None else None
        super().__init__(path, channels, duration, start, [], notes, assume_unit)
        cuts = [note for note in self.annotations if note.onset > 0 and any(cut in note.text.casefold() for cut in CUTS)]
        if cuts:
            notes.append(
                f"{len(cuts)} places where parts were joined (the first at {cuts[0].onset:g} s); times are those of the file"
            )

    @cached_property
    def annotations(self) -> list[Annotation]:
        """See :class:`PSG`."""
        first = self._raw.first_time if self._raw.annotations.orig_time else 0.0
        return sorted(
            Annotation(float(note["onset"]) - first, float(note["duration"]), str(note["description"]))
            for note in self._raw.annotations
        )

    def read_many(
        self, names: Sequence[str], start: float = 0.0, end: float | None = None
    ) -> list[Float32[np.ndarray, " samples"]]:
        """See :class:`PSG`."""
        start, end = self.span(start, end)
        channels = [self.channel(name) for name in names]
        scales = [self.microvolts(channel) for channel in channels]
        places = [self._raw.ch_names.index(name) for name in names]
        first, stop = (round(time * channels[0].rate) for time in (start, end))
        try:
            volts = self._raw[places, first:stop][0]
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"{self.path}: cannot be read from {start:g} s to {end:g} s: {error}. Fetch it again.") from None
        if volts.shape[1] < stop - first:
            raise UserError(f"{self.path}: truncated: ends before {end:g} s. Fetch it again.")
        if not np.isfinite(volts).all():
            raise UserError(f"{self.path}: holds NaN or infinite samples between {start:g} s and {end:g} s.")
        return [(row * scale).astype(np.float32) for row, scale in zip(volts, scales, strict=True)]
