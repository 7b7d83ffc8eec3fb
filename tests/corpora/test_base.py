"""Finding, reading and writing: the errors say where, and bad files are set aside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigssl.corpora.base import Item, find_root, homes, one_line, speaker_first, write_parts
from sigssl.corpora.rows import read_csv
from sigssl.data.datadir import DataDir
from sigssl.errors import UserError

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)


def test_find_root_takes_the_first_layout_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "corpus" / "recordings").mkdir(parents=True)
    assert find_root(tmp_path, "corpus", ["metadata.csv", "recordings"]) == (tmp_path / "corpus", "recordings")
    (tmp_path / "corpus" / "metadata.csv").touch()
    assert find_root(tmp_path / "corpus", "corpus", ["metadata.csv", "recordings"])[1] == "metadata.csv"


def test_find_root_lists_every_path_it_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as error:
        find_root(tmp_path, "corpus", ["a", "b"])
    assert f"{tmp_path}/{{a,b}}" in str(error.value) and f"{tmp_path}/corpus/{{a,b}}" in str(error.value)
    monkeypatch.setenv("SIGSSL_DATA", str(tmp_path))
    with pytest.raises(UserError, match="SIGSSL_DATA"):
        find_root(None, "corpus", ["a"])
    monkeypatch.delenv("SIGSSL_DATA")
    assert all(home.parts[-3:] == ("shared", "data", "corpus") for home in homes("corpus"))


def test_csv_and_tsv_with_a_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes('\ufeffpath,text\r\na.wav,"one, two"\r\n\r\nb.wav,\r\n'.encode())
    rows = read_csv(tmp_path / "a.csv", ["path"])
    assert [dict(row) for row in rows] == [{"path": "a.wav", "text": "one, two"}, {"path": "b.wav", "text": ""}]
    assert rows[1].where.endswith("a.csv:4")
    (tmp_path / "a.tsv").write_text('path\ttext\na.wav\tthe "x" said\n')
    assert read_csv(tmp_path / "a.tsv", ["path"])[0]["text"] == 'the "x" said'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pth,text\na,b\n", r"t.csv:1: no column 'path'.*Did you mean 'pth'"),
        ("path,spaeker\na,b\n", r"t.csv:1: unknown column 'spaeker'.*Did you mean 'speaker'"),
        ("path,path\na,b\n", "t.csv:1: column 'path' stands there twice"),
        ("path,text\na,b\n,c\n", "t.csv:3: column 'path' is empty"),
        ("path,text\na,b,c\n", "t.csv:2: 3 fields, but the header names 2"),
        ("path,text\n", "no rows"),
        ("", "no column 'path'"),
    ],
)
def test_bad_tables_are_refused_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_csv(tmp_path / "t.csv", ["path"], ["path", "text", "speaker"])


def test_missing_and_undecodable_tables(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_csv(tmp_path / "t.csv", [])
    (tmp_path / "t.csv").write_bytes(b"path\n\xe4.wav\n")
    with pytest.raises(UserError, match="iconv"):
        read_csv(tmp_path / "t.csv", ["path"])


@pytest.mark.parametrize("value", ["x", "nan", "inf"])
def test_numbers_must_be_finite(tmp_path: Path, value: str) -> None:
    (tmp_path / "t.csv").write_text(f"start\n{value}\n")
    with pytest.raises(UserError, match=f"t.csv:2: column 'start' holds '{value}'"):
        read_csv(tmp_path / "t.csv", [])[0].number("start")


@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=20))
def test_speaker_first_ids_sort_as_their_speakers(pairs: list[tuple[str, str]]) -> None:
    made = {speaker_first(speaker, name) for speaker, name in pairs}
    assert sorted(made, key=lambda pair: pair[1].encode()) == sorted(made, key=lambda pair: (pair[0].encode(), pair[1].encode()))
    assert all(name.startswith(f"{speaker}-") and len(name.split()) == 1 for speaker, name in made)


def test_one_line() -> None:
    assert one_line("  a \n b\u3000c ") == "a b c"
    assert one_line("  ") is None and one_line(None) is None


def test_unreadable_files_are_set_aside_and_listed(tmp_path: Path, noise: Callable[..., Path]) -> None:
    items = [Item(f"s-{n:02d}", noise(tmp_path / f"{n}.wav"), "s") for n in range(30)]
    items[7].path.write_bytes(b"")
    made = write_parts(tmp_path / "out", {"all": items})["all"]
    assert len(made) == 29 and "s-07" not in made.wav
    (line,) = (tmp_path / "out" / "all" / "quarantine.tsv").read_text().splitlines()
    assert line.split("\t")[:2] == ["s-07", str(items[7].path)] and "empty" in line
    items[7] = items[7]._replace(path=items[8].path)
    write_parts(tmp_path / "out", {"all": items})
    assert not (tmp_path / "out" / "all" / "quarantine.tsv").exists()


def test_many_unreadable_files_stop(tmp_path: Path, noise: Callable[..., Path]) -> None:
    items = [Item(f"s-{n}", tmp_path / f"{n}.wav", "s") for n in range(4)]
    noise(items[0].path)
    with pytest.raises(UserError, match="3 of 4 recordings cannot be used") as error:
        write_parts(tmp_path / "out", {"all": items})
    assert "1.wav" in str(error.value) and not (tmp_path / "out").exists()


def test_double_ids_and_empty_parts(tmp_path: Path, noise: Callable[..., Path]) -> None:
    item = Item("s-1", noise(tmp_path / "a.wav"), "s")
    with pytest.raises(UserError, match="utterance id 's-1' twice"):
        write_parts(tmp_path, {"all": [item, item]})
    with pytest.raises(UserError, match="no utterances"):
        write_parts(tmp_path, {"all": []})


def test_cuts_become_segments(tmp_path: Path, noise: Callable[..., Path], check: Callable[[dict[str, DataDir]], None]) -> None:
    one, other = noise(tmp_path / "x" / "a.wav", 2.0), noise(tmp_path / "y" / "a.wav", 1.0)
    items = [
        Item("s-1", one, "s", start=0.5, end=1.5),
        Item("s-2", one, "s", start=1.5, end=2.2),
        Item("s-3", other, "s", start=0.25),
        Item("s-4", noise(tmp_path / "z.wav", 0.5), "s"),
    ]
    made = write_parts(tmp_path / "out", {"all": items})
    check(made)
    assert made["all"].wav == {"a": str(one), "a-2": str(other), "s-4": str(tmp_path / "z.wav")}
    assert made["all"].utt2dur == {"s-1": 1.0, "s-2": 0.5, "s-3": 0.75, "s-4": 0.5}
    assert made["all"].segments is not None and made["all"].segments["s-3"] == ("a-2", 0.25, 1.0)
