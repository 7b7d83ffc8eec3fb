"""The tables of a data directory as they stand, faults included, with the line of every entry; for checking and mending."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from sigssl.data.datadir import CARRIED, EPOCH_LENGTH, read_epoch_length
from sigssl.data.findings import Finding
from sigssl.data.io import Line, read_lines
from sigssl.data.segments import Segment, parse_segment
from sigssl.data.stages import EPOCH
from sigssl.errors import UserError

# file -> what its keys are, in the order in which they are checked
KEYS = {
    "wav.scp": "recording",
    "segments": "utterance",
    "utt2spk": "utterance",
    "spk2utt": "speaker",
    "text": "utterance",
    "utt2dur": "utterance",
    "utt2label": "utterance",
    "feats.scp": "utterance",
    "phones": "utterance",
    "stages": "utterance",
    **CARRIED,
}


class Tables:
    """All tables of a folder.

    Attributes:
        path: the folder.
        lines: file -> its lines, in order, repeated ids included.
        entries: file -> id -> value; of a repeated id the first.
        findings: files that could not be read at all.

    Raises:
        UserError: no such folder, or neither wav.scp nor feats.scp in it.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise UserError(f"{path}: no such data directory.")
        self.lines: dict[str, list[Line]] = {}
        self.entries: dict[str, dict[str, str]] = {}
        self.findings: list[Finding] = []
        for file in KEYS:
            if (self.path / file).exists():
                self._read(file)
        if not {"wav.scp", "feats.scp"} & self.lines.keys():
            said = " ".join(finding.what for finding in self.findings)
            raise UserError(f"{path}: neither a readable wav.scp nor feats.scp is here, so it is no data directory. {said}")

    def _read(self, file: str) -> None:
        try:
            lines = read_lines(self.path / file)
        except UserError as error:
            self.findings.append(Finding("unreadable table", str(self.path / file), str(error), "Convert it to UTF-8"))
            return
        self.lines[file] = lines
        self.entries[file] = {}
        for line in lines:
            self.entries[file].setdefault(line.key, line.value)

    def where(self, file: str, key: str | None = None) -> str:
        """`DIR/FILE:LINE` of an id's first line, or of the file."""
        number = self.numbers[file].get(key) if key is not None and file in self.lines else None
        return f"{self.path / file}:{number}" if number else f"{self.path / file}"

    @cached_property
    def numbers(self) -> dict[str, dict[str, int]]:
        """File -> id -> its first line."""
        made: dict[str, dict[str, int]] = {}
        for file, lines in self.lines.items():
            numbers = made[file] = {}
            for line in lines:
                numbers.setdefault(line.key, line.number)
        return made

    @cached_property
    def epoch_length(self) -> float:
        """Seconds of a sleep epoch."""
        path = self.path / EPOCH_LENGTH
        return read_epoch_length(path) if path.exists() else EPOCH

    @cached_property
    def base(self) -> str:
        """The file whose ids are the utterances."""
        return next(file for file in ("segments", "wav.scp", "feats.scp") if file in self.lines)

    @cached_property
    def utterances(self) -> list[str]:
        """The utterance ids, sorted."""
        return sorted(self.entries[self.base])

    @cached_property
    def segments(self) -> dict[str, Segment | str]:
        """Utterance -> its segment, or what is wrong with its line; empty without `segments`."""
        made: dict[str, Segment | str] = {}
        for key, value in self.entries.get("segments", {}).items():
            try:
                made[key] = parse_segment(value)
            except ValueError as error:
                made[key] = str(error)
        return made

    @cached_property
    def cut_from(self) -> dict[str, tuple[str, ...]]:
        """Recording -> its utterances."""
        if "segments" not in self.lines:
            return {key: (key,) for key in self.entries.get("wav.scp", {})}
        made: dict[str, list[str]] = {}
        for key, segment in self.segments.items():
            if isinstance(segment, Segment):
                made.setdefault(segment.recording, []).append(key)
        return {recording: tuple(sorted(keys)) for recording, keys in made.items()}

    def users(self, file: str, key: str) -> tuple[str, ...]:
        """The utterances that an entry of a table concerns."""
        kind = KEYS[file]
        if kind == "utterance":
            return (key,) if key in self.entries[self.base] else ()
        return self.cut_from.get(key, ()) if kind == "recording" else ()
