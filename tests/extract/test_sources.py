"""Where recordings are found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sigssl.errors import UserError
from sigssl.extract.sources import find_utterances


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("right/take 1.flac", "right/b.wav", "left/b.wav", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_a_data_directory(corpus: Callable[..., Path]) -> None:
    utterances = find_utterances(corpus(30))
    assert len(utterances) == 30
    assert [u.id for u in utterances] == sorted(u.id for u in utterances)
    assert utterances[0].speaker == "spk0"


def test_a_folder_is_searched_and_ids_come_from_relative_paths(folder: Path) -> None:
    assert [u.id for u in find_utterances(folder)] == ["left-b", "right-b", "right-take_1"]


def test_files(folder: Path) -> None:
    found = find_utterances([folder / "left" / "b.wav", folder / "right" / "take 1.flac"])
    assert [(u.id, Path(u.path).name) for u in found] == [("b", "b.wav"), ("take_1", "take 1.flac")]


def test_a_list_of_paths_or_of_ids_and_paths(folder: Path) -> None:
    (folder / "list.txt").write_text("one left/b.wav\nright/take 1.flac\n")
    found = find_utterances(folder / "list.txt")
    assert [(u.id, Path(u.path).relative_to(folder).as_posix()) for u in found] == [
        ("one", "left/b.wav"),
        ("take_1", "right/take 1.flac"),
    ]


def test_a_command_in_a_list_is_refused(folder: Path) -> None:
    (folder / "list.scp").write_text("one rm -rf / |\n")
    with pytest.raises(UserError, match=r"list.scp:1: a command"):
        find_utterances(folder / "list.scp")


def test_an_id_twice_names_both_files(folder: Path) -> None:
    with pytest.raises(UserError, match=r"id 'b': .*(left|right)/b.wav and .*(left|right)/b.wav"):
        find_utterances([folder / "left" / "b.wav", folder / "right" / "b.wav"])


@pytest.mark.parametrize(("name", "message"), [("gone", "not there"), ("notes.md", "unknown kind")])
def test_what_is_no_source(folder: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_utterances(folder / name)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no recordings there"):
        find_utterances(tmp_path)
