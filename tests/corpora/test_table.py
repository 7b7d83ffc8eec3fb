"""Anyone's own files: tables and folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sigssl.corpora import folder, table
from sigssl.data.datadir import DataDir
from sigssl.errors import UserError

Check = Callable[[dict[str, DataDir]], None]
Noise = Callable[..., Path]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_list_of_paths_is_enough(tmp_path: Path, noise: Noise, check: Check) -> None:
    noise(tmp_path / "rec" / "a b.wav")
    noise(tmp_path / "rec" / "c.flac")
    made = table.prepare(write(tmp_path / "t.csv", "path\nrec/a b.wav\nrec/c.flac\n"), tmp_path / "out")
    check(made)
    assert made["all"].utt2spk == {"a_b": "a_b", "c": "c"}


def test_every_column(tmp_path: Path, noise: Noise, check: Check) -> None:
    noise(tmp_path / "audio" / "long.wav", 3.0)
    noise(tmp_path / "audio" / "short.wav", 1.0)
    text = (
        "path\tid\tspeaker\ttext\tlabel\tstart\tend\tpart\n"
        "long.wav\tone\tann-lee\tHello  there\thappy\t0.5\t1.5\ttrain\n"
        "long.wav\t\tann-lee\t\tvery sad\t1.5\t\ttrain\n"
        "short.wav\tbob-x\tbob\tbye\thappy\t\t\tdev\n"
    )
    made = table.prepare(write(tmp_path / "t.tsv", text), tmp_path / "out", audio_root=tmp_path / "audio")
    check(made)
    assert made["train"].ids() == ["ann_lee-long-0001500", "ann_lee-one"]
    assert made["train"].text == {"ann_lee-one": "Hello there"}
    assert made["train"].utt2label["ann_lee-long-0001500"] == "very_sad"
    assert made["train"].utt2dur == {"ann_lee-long-0001500": 1.5, "ann_lee-one": 1.0}
    assert made["dev"].segments is None and made["dev"].utt2spk == {"bob-x": "bob"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path\nb.wav\n", r"t.csv:2: no file .*/b.wav. Paths start from"),
        ("path,start,end\na.wav,1,0.5\n", "t.csv:2: start 1 and end 0.5 make no cut"),
        ("path,start\na.wav,x\n", "t.csv:2: column 'start' holds 'x'"),
        ("path\na.wav\na.wav\n", r"t.csv:3: id 'a' again; it was given in .*t.csv:2"),
        ("path,speaker\na.wav,\n", "t.csv:2: column 'speaker' is empty"),
        ("path,speakr\na.wav,x\n", "unknown column 'speakr'. Did you mean 'speaker'"),
        ("path,start,end\na.wav,7,8\n", "cannot be used"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, noise: Noise, text: str, message: str) -> None:
    noise(tmp_path / "a.wav")
    with pytest.raises(UserError, match=message):
        table.prepare(write(tmp_path / "t.csv", text), tmp_path / "out")


def test_extra_columns_pass_when_asked(tmp_path: Path, noise: Noise) -> None:
    noise(tmp_path / "a.wav")
    source = write(tmp_path / "t.csv", "path,age\na.wav,7\n")
    assert len(table.prepare(source, tmp_path / "out", extra_columns=True)["all"]) == 1
    with pytest.raises(UserError, match="needs --root"):
        table.prepare(None, tmp_path / "out")


def test_a_folder_is_searched_through(tmp_path: Path, noise: Noise, check: Check) -> None:
    root = tmp_path / "rec"
    for name in ("ann/yes/1.wav", "ann/no/1.FLAC", "bob/yes/1.ogg", "top.wav", ".hidden/x.wav", "ann/._1.wav"):
        noise(root / name)
    (root / "notes.txt").write_text("x")
    made = folder.prepare(root, tmp_path / "out", speaker="none")
    check(made)
    assert made["all"].ids() == ["ann_no_1", "ann_yes_1", "bob_yes_1", "top"]
    made = folder.prepare(root, tmp_path / "out", speaker="^(\\w+)[/.]", label="parent")
    check(made)
    assert made["all"].utt2spk["ann-ann_no_1"] == "ann" and made["all"].utt2label["ann-ann_no_1"] == "no"
    assert set(folder.prepare(root, tmp_path / "out")["all"].utt2spk.values()) == {"yes", "no", "root"}


@pytest.mark.parametrize(
    ("rule", "message"), [("(", "no regular expression"), ("ann", "takes nothing"), ("(zoe)", "takes nothing")]
)
def test_rules_that_do_not_work(tmp_path: Path, noise: Noise, rule: str, message: str) -> None:
    noise(tmp_path / "rec" / "ann.wav")
    with pytest.raises(UserError, match=message):
        folder.prepare(tmp_path / "rec", tmp_path / "out", speaker=rule)


def test_folders_without_audio(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no audio files below it.*\.flac"):
        folder.prepare(tmp_path, tmp_path / "out", kind="audio")
    with pytest.raises(UserError, match=r"no recordings below it.*\.edf.*\.flac"):
        folder.prepare(tmp_path, tmp_path / "out")
    with pytest.raises(UserError, match="expected auto, audio or psg"):
        folder.prepare(tmp_path, tmp_path / "out", kind="x")
    with pytest.raises(UserError, match="is none"):
        folder.prepare(tmp_path / "absent", tmp_path / "out")
