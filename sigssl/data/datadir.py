"""The data directory: Kaldi's plain-text tables, read and written; directories made by Kaldi and ESPnet work unchanged.

    wav.scp    recording id -> audio file            utt2spk   utterance -> speaker (subject); spk2utt is written from it
    segments   utterance -> recording start end      text      utterance -> transcript
    utt2dur    utterance -> seconds                  utt2label utterance -> class
    feats.scp  utterance -> matrix in an ark         phones    utterance -> one label per 10-ms frame
    epoch_length  one number: seconds          stages    utterance (night) -> one sleep stage per epoch, ? unscored

Without `segments` every recording is an utterance. Files are sorted by id in the C locale's order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from sigssl.data.io import line_of, read_table, write_table, write_text
from sigssl.data.paths import find
from sigssl.data.segments import Segment, format_seconds, format_segment, parse_seconds, parse_segment
from sigssl.data.stages import EPOCH
from sigssl.errors import UserError

__all__ = ["CARRIED", "DECODES", "Command", "DataDir", "Segment", "Utterance", "is_data_dir", "spk2utt"]


class Utterance(NamedTuple):
    """One utterance with all that is needed to read it.

    Attributes:
        id: its id.
        path: audio file, resolved; a :class:`Command` where commands are allowed.
        start: seconds into the file.
        end: seconds into the file, None to the end.
        speaker: speaker or subject, None where utt2spk lacks it.
        duration: seconds, from utt2dur or the segment, None where neither says.
    """

    id: str
    path: str
    start: float
    end: float | None
    speaker: str | None
    duration: float | None


class Command(str):
    """A shell command of a wav.scp (`sph2pipe ... |`) that the user has allowed to run; `audio` runs no other string."""

    __slots__ = ()


EPOCH_LENGTH = "epoch_length"  # a file with one number, as Kaldi's frame_shift
# tables whose values are kept as they stand: field -> file
PLAIN_TABLES = {"wav": "wav.scp", "utt2spk": "utt2spk", "text": "text", "utt2label": "utt2label", "feats": "feats.scp"}
# further tables of Kaldi and ESPnet, carried along: file -> what its keys are
CARRIED = {
    "utt2num_frames": "utterance",
    "utt2lang": "utterance",
    "utt2uniq": "utterance",
    "vad.scp": "utterance",
    "spk2gender": "speaker",
    "cmvn.scp": "speaker",
    "reco2dur": "recording",
    "reco2file_and_channel": "recording",
}
# commands that only decode a file that soundfile decodes too: LibriSpeech's `flac -c -d -s FILE |`, `cat FILE |`, and lhotse's
# `ffmpeg -threads 1 -i FILE -ar RATE -map_channel 0.0.0 -f wav -threads 1 pipe:1 |` (its rate is the recording's own)
DECODES = re.compile(
    r"(?:\S*/)?(?:flac(?: -[cds]+| --(?:decode|stdout|silent))+|cat|ffmpeg -threads 1 -i) (?P<path>[^|;&<>$`\"'\\]+?)"
    r"(?: -ar \d+ -map_channel 0\.0\.0 +-f wav -threads 1 pipe:1)? *\|$"
)


@dataclass
class DataDir:
    """A data directory in memory; a table is empty (`segments` None) where its file is absent.

    Attributes:
        path: the folder it was read from, or will be written to.
        wav: recording -> path as it stands in wav.scp.
        segments: utterance -> place in a recording; None where recordings are utterances.
        utt2spk: utterance -> speaker. text: utterance -> transcript. utt2dur: utterance -> seconds.
        utt2label: utterance -> class. feats: utterance -> rxfile. phones: utterance -> label per frame.
        stages: utterance -> stage per epoch, counted from the start of its segment.
        epoch_length: seconds that each epoch of `stages` lasts.
        carried: file name -> table, for the further tables of :data:`CARRIED`.
        allow_commands: whether `... |` in wav.scp may be run.
    """

    path: Path
    wav: dict[str, str] = field(default_factory=dict)
    segments: dict[str, Segment] | None = None
    utt2spk: dict[str, str] = field(default_factory=dict)
    text: dict[str, str] = field(default_factory=dict)
    utt2dur: dict[str, float] = field(default_factory=dict)
    utt2label: dict[str, str] = field(default_factory=dict)
    feats: dict[str, str] = field(default_factory=dict)
    phones: dict[str, list[str]] = field(default_factory=dict)
    stages: dict[str, list[str]] = field(default_factory=dict)
    epoch_length: float = EPOCH
    carried: dict[str, dict[str, str]] = field(default_factory=dict)
    allow_commands: bool = False

    @classmethod
    def read(cls, path: Path | str, *, allow_commands: bool = False) -> DataDir:
        """Read the tables that are there; nothing is opened beyond them.

        Args:
            path: the folder; `shar:DIR`, or a folder of lhotse Shar, reads as a data directory too.
            allow_commands: accept wav.scp lines that are shell commands (`... |`); they are run when audio is read. Commands
                that merely decode a file (`flac -c -d -s FILE |`) need no permission: the file is read in their place.

        Raises:
            UserError: no data directory, or a line that cannot be understood; file and line are named.
        """
        from sigssl.data.shar import read_shar, shar_folder  # which is written in terms of this class

        shar = shar_folder(path)
        if shar is not None:
            return read_shar(shar)
        path = Path(path)
        if not path.is_dir():
            raise UserError(f"{path}: no such data directory.")
        present = {entry.name for entry in path.iterdir()}
        if not present & {"wav.scp", "feats.scp"}:
            raise UserError(
                f"{path}: neither wav.scp nor feats.scp is here, so it is no data directory. "
                f"'sigssl prepare' makes one from a corpus or a table of files."
            )
        tables: dict[str, Any] = {
            name: read_table(path / file, empty_ok=name == "text") for name, file in PLAIN_TABLES.items() if file in present
        }
        parsers: dict[str, Callable[[str], Any]] = {"segments": parse_segment, "utt2dur": parse_seconds}
        for name in ("segments", "utt2dur", "phones", "stages"):
            if name in present:
                tables[name] = _parsed(path / name, parsers.get(name, str.split))
        carried = {file: read_table(path / file) for file in CARRIED if file in present}
        if EPOCH_LENGTH in present:
            tables["epoch_length"] = read_epoch_length(path / EPOCH_LENGTH)
        made = cls(path=path, carried=carried, allow_commands=allow_commands, **tables)
        made._refuse_commands()
        return made

    def write(self, path: Path | str | None = None) -> None:
        """Write the tables, sorted, each whole; known tables that are empty are removed from the folder.

        Args:
            path: another folder than its own. Audio and ark paths that are relative to the old folder are then made absolute.
        """
        target = Path(self.path if path is None else path)
        target.mkdir(parents=True, exist_ok=True)
        here = self if target.resolve() == self.path.resolve() else self.portable()
        tables: dict[str, Mapping[str, str]] = {file: getattr(here, name) for name, file in PLAIN_TABLES.items()}
        tables["segments"] = {key: format_segment(segment) for key, segment in (self.segments or {}).items()}
        tables["utt2dur"] = {key: format_seconds(seconds) for key, seconds in self.utt2dur.items()}
        tables["phones"] = {key: " ".join(labels) for key, labels in self.phones.items()}
        tables["stages"] = {key: " ".join(labels) for key, labels in self.stages.items()}
        tables["spk2utt"] = {speaker: " ".join(ids) for speaker, ids in spk2utt(self.utt2spk).items()}
        tables.update({file: self.carried.get(file, {}) for file in CARRIED})
        for file, table in tables.items():
            if table:
                write_table(target / file, table)
            else:
                (target / file).unlink(missing_ok=True)
        if self.stages or self.epoch_length != EPOCH:
            write_text(target / EPOCH_LENGTH, f"{format_seconds(self.epoch_length)}\n")
        else:
            (target / EPOCH_LENGTH).unlink(missing_ok=True)

    def ids(self) -> list[str]:
        """The utterance ids, sorted: those of segments, else of wav.scp, else of feats.scp."""
        return sorted(self.wav or self.feats if self.segments is None else self.segments)

    def __len__(self) -> int:
        """The number of utterances."""
        return len(self.wav or self.feats if self.segments is None else self.segments)

    def utterances(self) -> list[Utterance]:
        """The utterances that have audio, sorted by id, paths resolved.

        Raises:
            UserError: a segment of an unknown recording.
        """
        resolved = {recording: self.resolve(recording) for recording in self.wav}
        if self.segments is None:
            return [
                Utterance(key, resolved[key], 0.0, None, self.utt2spk.get(key), self.utt2dur.get(key)) for key in sorted(resolved)
            ]
        found = []
        for key in sorted(self.segments):
            recording, start, stop = self.segments[key]
            if recording not in resolved:
                raise UserError(
                    f"{self.path / 'segments'}: utterance {key!r} is cut from recording {recording!r}, which wav.scp lacks. "
                    f"Add the recording or let 'sigssl validate --fix' drop the segment."
                )
            end = None if stop < 0 else stop
            duration = self.utt2dur.get(key, None if end is None else end - start)
            found.append(Utterance(key, resolved[recording], start, end, self.utt2spk.get(key), duration))
        return found

    def resolve(self, recording: str) -> str:
        """The path of a recording: a relative one counts from the current directory (as in Kaldi), then from the folder."""
        value = self.wav[recording]
        if value.endswith("|"):
            decoded = DECODES.match(value)
            if decoded is None:
                return Command(value)
            value = decoded["path"]
        return find(value, self.path)

    def rxfile(self, id: str) -> str:
        """Where the features of an utterance are; an ark that was moved along with the folder is found beside its feats.scp."""
        return find(self.feats[id], self.path, by_name=True)

    def portable(self) -> DataDir:
        """The same directory with those paths made absolute that count from its folder, so that it may be written elsewhere."""
        old = self.path.resolve()
        return replace(
            self,
            wav={key: value if value.endswith("|") else find(value, old) for key, value in self.wav.items()},
            feats={key: find(value, old, by_name=True) for key, value in self.feats.items()},
        )

    def subset(self, ids: Iterable[str]) -> DataDir:
        """The directory of some utterances only, with the recordings and speakers that they need.

        Args:
            ids: utterance ids.

        Raises:
            UserError: an id that is no utterance here.
        """
        wanted = set(ids)
        unknown = sorted(wanted - set(self.ids()))
        if unknown:
            more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise UserError(f"{self.path}: no utterance {unknown[0]!r}{more}. Check that the ids come from this directory.")
        segments = None if self.segments is None else {key: seg for key, seg in self.segments.items() if key in wanted}
        recordings = wanted if segments is None else {segment.recording for segment in segments.values()}
        speakers = {self.utt2spk[key] for key in wanted if key in self.utt2spk}
        keep = {"utterance": wanted, "recording": recordings, "speaker": speakers}
        return replace(
            self,
            wav=_only(self.wav, recordings),
            segments=segments,
            utt2spk=_only(self.utt2spk, wanted),
            text=_only(self.text, wanted),
            utt2dur=_only(self.utt2dur, wanted),
            utt2label=_only(self.utt2label, wanted),
            feats=_only(self.feats, wanted),
            phones=_only(self.phones, wanted),
            stages=_only(self.stages, wanted),
            carried={file: _only(table, keep[CARRIED[file]]) for file, table in self.carried.items()},
        )

    def _refuse_commands(self) -> None:
        if self.allow_commands:
            return
        commands = [key for key, value in self.wav.items() if value.endswith("|") and not DECODES.match(value)]
        if commands:
            raise UserError(
                f"{self.path / 'wav.scp'}: {len(commands)} recording(s) are shell commands, the first {commands[0]!r}: "
                f"{self.wav[commands[0]]!r}. Commands found in data are not run unasked: pass allow_commands (--allow-commands) if "
                f"you trust them, or write the audio to files first."
            )


def is_data_dir(path: Path | str) -> bool:
    """Whether a path names a data directory with audio: a folder with wav.scp, or lhotse Shar (`shar:DIR`)."""
    from sigssl.data.shar import shar_folder

    return (Path(path) / "wav.scp").is_file() or shar_folder(path) is not None


def read_epoch_length(path: Path) -> float:
    """The one number of a file `epoch_length`: seconds that a sleep epoch lasts.

    Raises:
        UserError: it holds something else.
    """
    text = path.read_text(encoding="utf-8-sig").strip()
    try:
        seconds = parse_seconds(text)
    except ValueError:
        seconds = 0.0
    if not seconds:
        raise UserError(f"{path}: {text[:40]!r}; expected one number above 0, the seconds of an epoch (30, or 20).")
    return seconds


def spk2utt(utt2spk: Mapping[str, str]) -> dict[str, list[str]]:
    """Speaker -> its utterances, sorted."""
    made: dict[str, list[str]] = {}
    for key in sorted(utt2spk):
        made.setdefault(utt2spk[key], []).append(key)
    return made


def _parsed(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    table = {}
    for key, value in read_table(path).items():
        try:
            table[key] = parse(value)
        except ValueError as error:
            raise UserError(f"{path}:{line_of(path, key)}: {key!r} {value!r}: {error}. Mend the line or remove it.") from None
    return table


def _only(table: dict[str, Any], keep: set[str]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key in keep}
