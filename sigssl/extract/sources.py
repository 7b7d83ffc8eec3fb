"""What to extract from: a data directory, a folder of audio, audio files, or a list of them, all as utterances sorted by id."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from itertools import pairwise
from pathlib import Path

from sigssl.data.datadir import DataDir, Utterance, is_data_dir
from sigssl.data.io import read_lines
from sigssl.data.tar import tar_of
from sigssl.errors import UserError

AUDIO = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64", ".sph"}
LISTS = {".txt", ".lst", ".list", ".scp"}


def find_utterances(
    source: str | Path | Iterable[str | Path], *, allow_commands: bool = False, suffixes: Collection[str] = AUDIO
) -> list[Utterance]:
    """The utterances of `source`, sorted by id; those in lhotse Shar in the order of the shards, so that each is read once.

    Args:
        source: a data directory (a folder with `wav.scp`, or `shar:DIR`), any other folder (searched for audio files, ids from
            relative paths), an audio file, a list file (`path` or `id path` per line), or several of the last three.
        allow_commands: run the commands (`... |`) that a wav.scp holds in place of files.
        suffixes: of the files that are looked for.

    Raises:
        UserError: nothing there, nothing in it, an unknown kind of file, or an id twice; both places are named.
    """
    sources = [source] if isinstance(source, (str, Path)) else list(source)
    if len(sources) == 1 and is_data_dir(sources[0]):
        utterances = DataDir.read(Path(sources[0]), allow_commands=allow_commands).utterances()
    else:
        utterances = [_utterance(id, path) for each in sources for id, path in _files(Path(each), suffixes)]
    if not utterances:
        raise UserError(
            f"{' '.join(map(str, sources))}: no recordings there; looked for wav.scp and for {' '.join(sorted(suffixes))}."
        )
    utterances.sort(key=lambda utterance: utterance.id.encode())
    for one, other in pairwise(utterances):
        if one.id == other.id:
            raise UserError(
                f"two recordings have the id {one.id!r}: {one.path} and {other.path}. Rename one, or give a list file with "
                f"lines 'id path'."
            )
    if any(tar_of(utterance.path) for utterance in utterances):
        utterances.sort(key=lambda utterance: utterance.path)
    return utterances


def _files(source: Path, suffixes: Collection[str]) -> Iterable[tuple[str, Path]]:
    if source.is_dir():
        return ((file_id(path.relative_to(source)), path) for path in source.rglob("*") if path.suffix.lower() in suffixes)
    if source.suffix.lower() in LISTS:
        return _listed(source, suffixes)
    if source.suffix.lower() in suffixes:
        return [(file_id(Path(source.name)), source)]
    what = "a file of unknown kind" if source.exists() else "not there"
    raise UserError(
        f"{source}: {what}; expected a data directory, a folder, a file ({' '.join(sorted(suffixes))}) or a list of files "
        f"({' '.join(sorted(LISTS))})."
    )


def _listed(source: Path, suffixes: Collection[str]) -> Iterable[tuple[str, Path]]:
    """The lines of a list: `id path`, or a path alone (which may hold spaces); relative paths as from here, then from the list."""
    for number, key, value in read_lines(source):
        line = f"{key} {value}" if value else key
        if line.endswith("|"):
            raise UserError(f"{source}:{number}: a command in place of a path is not run: {line!r}. Write its output to a file.")
        alone = not value or Path(key).suffix.lower() in suffixes or "/" in key
        path = Path(line if alone else value)
        if not path.is_absolute() and not path.exists() and (source.parent / path).exists():
            path = source.parent / path
        yield (file_id(Path(path.name)) if alone else key), path


def file_id(path: Path) -> str:
    """An utterance id from a relative path: `right/take 1.flac` -> `right-take_1`."""
    return re.sub(r"\s", "_", "-".join(path.with_suffix("").parts))


def _utterance(id: str, path: Path) -> Utterance:
    return Utterance(id=id, path=str(path), start=0.0, end=None, speaker=None, duration=None)
