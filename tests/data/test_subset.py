"""Parts of a directory by ids, speakers, classes, hours and number."""

from __future__ import annotations

from pathlib import Path

import pytest

from sigssl.cli.main import main
from sigssl.data.datadir import DataDir
from sigssl.data.subset import choose
from sigssl.errors import UserError


def corpus(path: Path = Path("all")) -> DataDir:
    data = DataDir(path=path)
    for i in range(60):
        id = f"s{i // 6}-{i % 6}"
        data.wav[id], data.utt2spk[id], data.utt2dur[id] = f"/audio/{id}.wav", f"s{i // 6}", 1.0 + i // 6
        data.utt2label[id] = f"class{i % 3}"
    return data


def test_choosing() -> None:
    data = corpus()
    assert choose(data, first=2).ids() == ["s0-0", "s0-1"]
    assert choose(data, spks=["s3"], first=99).ids() == [f"s3-{u}" for u in range(6)]
    assert {key.split("-")[0] for key in choose(data, not_spks=["s3", "s0"]).ids()}.isdisjoint({"s3", "s0"})
    few = choose(data, per_class=4, seed=5)
    assert sorted(few.utt2label.values()) == ["class0"] * 4 + ["class1"] * 4 + ["class2"] * 4
    assert few.ids() == choose(data, per_class=4, seed=5).ids() != choose(data, per_class=4, seed=6).ids()
    hour = choose(data, hours=60 / 3600)
    assert 60 <= sum(hour.utt2dur.values()) < 60 + 10
    assert choose(data, utts=["s0-1", "s9-5"]).ids() == ["s0-1", "s9-5"]
    for wrong, said in (
        ({"utts": ["x"]}, "no utterance 'x'"),
        ({"spks": ["x"]}, "no speaker 'x'"),
        ({"first": 0}, "no utterance ful"),
    ):
        with pytest.raises(UserError, match=said):
            choose(data, **wrong)  # type: ignore[arg-type]


def test_subset_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus(path=tmp_path / "all").write()
    (tmp_path / "list").write_text("s1-1 some words\ns2-2\n")
    assert main(["subset", str(tmp_path / "all"), str(tmp_path / "few"), "--utts", str(tmp_path / "list")]) == 0
    assert DataDir.read(tmp_path / "few").ids() == ["s1-1", "s2-2"]
    assert main(["subset", str(tmp_path / "all"), str(tmp_path / "two"), "--spks", "s1,s2", "--per-class", "1"]) == 0
    assert "two: 3 of 60 utterances" in capsys.readouterr().out
    assert main(["subset", str(tmp_path / "all"), str(tmp_path / "few")]) == 2
    assert "no condition given" in capsys.readouterr().err
