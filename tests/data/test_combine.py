"""Joining directories, with clashes named."""

from __future__ import annotations

from pathlib import Path

import pytest

from sigssl.cli.main import main
from sigssl.data.combine import combine
from sigssl.data.datadir import DataDir, Segment
from sigssl.errors import UserError


def one(name: str, ids: str, **tables: object) -> DataDir:
    data = DataDir(path=Path(name), wav={id: f"/{name}/{id}.wav" for id in ids}, utt2spk={id: f"spk-{id}" for id in ids})
    for table, value in tables.items():
        setattr(data, table, value)
    return data


def test_joined(tmp_path: Path) -> None:
    joined, remarks = combine([one("p", "ab", text={"a": "x", "b": "y"}), one("q", "cd")], tmp_path)
    assert joined.ids() == list("abcd") and joined.wav["c"] == "/q/c.wav" and joined.text == {"a": "x", "b": "y"}
    assert remarks == ["text is absent from q; the joined one covers the others only"]


def test_clashes_are_named_and_prefixes_part_them(tmp_path: Path) -> None:
    p, q = one("p", "ab", carried={"spk2gender": {"spk-a": "f"}}), one("q", "bc", stages={"b": ["W"]})
    with pytest.raises(UserError, match=r"1 utterance ids are in two directories: 'b' \(p and q\).*--prefix"):
        combine([p, q], tmp_path)
    joined, _ = combine([p, q], tmp_path, ["p", "q"])
    assert joined.ids() == ["p-a", "p-b", "q-b", "q-c"]
    assert joined.utt2spk["q-b"] == "q-spk-b" and joined.carried == {"spk2gender": {"p-spk-a": "f"}}
    assert joined.stages == {"q-b": ["W"]}
    with pytest.raises(UserError, match="as many different prefixes"):
        combine([p, q], tmp_path, ["p", "p"])


def test_segments_and_whole_recordings(tmp_path: Path) -> None:
    p = one("p", "a", segments={"a1": Segment("a", 0.0, 1.0)}, utt2spk={"a1": "s"})
    q = one("q", "bc", utt2spk={"b": "s", "c": "t"})
    joined, remarks = combine([p, q], tmp_path)
    assert joined.segments == {"a1": ("a", 0.0, 1.0), "b": ("b", 0.0, -1.0), "c": ("c", 0.0, -1.0)}
    assert any("speaker 's' is in p and q (1 such): taken for one person" in r for r in remarks)
    with pytest.raises(UserError, match=r"wav.scp: 'a' is '/p/a.wav' in one directory and '/r/a.wav' in r"):
        combine([p, one("r", "a", segments={"a2": Segment("a", 1.0, 2.0)})], tmp_path)
    parts, _ = combine([p, one("p", "a", segments={"a2": Segment("a", 1.0, 2.0)})], tmp_path)  # the same recording
    assert parts.ids() == ["a1", "a2"] and list(parts.wav) == ["a"]


def test_epochs_of_different_lengths_are_not_joined(tmp_path: Path) -> None:
    nights = [one("p", "a", stages={"a": ["W"]}, epoch_length=20.0), one("q", "b", stages={"b": ["W"]}), one("r", "c")]
    with pytest.raises(UserError, match=r"20 s in p, 30 s in q"):
        combine(nights, tmp_path)
    assert combine([nights[2], nights[0]], tmp_path)[0].epoch_length == 20.0


def test_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("p", "q"):
        one(name, "ab").write(tmp_path / name)
    (tmp_path / "p/x.wav").touch()
    (tmp_path / "p/wav.scp").write_text("a x.wav\nb /b.wav\n")
    words = ["combine", str(tmp_path / "all"), str(tmp_path / "p"), str(tmp_path / "q")]
    assert main(words) == 2 and "Give prefixes" in capsys.readouterr().err
    assert main([*words, "--prefix", "name"]) == 0
    assert "4 utterances from 2 directories" in capsys.readouterr().out
    assert DataDir.read(tmp_path / "all").wav["p-a"] == str(tmp_path / "p/x.wav")
