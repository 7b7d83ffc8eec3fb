"""Splits, folds and their leakage checks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigssl.cli.main import main
from sigssl.data.datadir import DataDir, Segment
from sigssl.data.split import check_leakage, fingerprint, folds, shuffled, split
from sigssl.errors import UserError


def corpus(speakers: int = 10, each: int = 6, path: Path = Path("all")) -> DataDir:
    data = DataDir(path=path)
    for s in range(speakers):
        for u in range(each):
            id = f"s{s}-{u}"
            data.wav[id], data.utt2spk[id], data.utt2dur[id] = f"/audio/{id}.wav", f"s{s}", 1.0 + s
            data.utt2label[id] = f"class{u % 3}"
    return data


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 12), st.integers(0, 1000), st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (0.2, 0.2, 0.6)]))
def test_parts_share_no_speaker_miss_none_and_are_never_empty(speakers: int, seed: int, shares: tuple[float, float, float]) -> None:
    data = corpus(speakers, 2)
    parts = split(data, dict(zip(("train", "dev", "test"), shares, strict=True)), seed=seed)
    check_leakage(*parts.values())
    assert sorted(id for part in parts.values() for id in part.ids()) == data.ids()
    assert all(len(part) for part in parts.values())


def test_shares_are_met_and_the_seed_decides() -> None:
    data = corpus(100, 2)
    shares = {"train": 0.8, "dev": 0.1, "test": 0.1}
    first, again, other = split(data, shares), split(data, shares), split(data, shares, seed=1)
    total = sum(data.utt2dur.values())
    for name, share in shares.items():
        assert abs(sum(first[name].utt2dur.values()) / total - share) < 0.02
        assert first[name].ids() == again[name].ids() != other[name].ids()


def test_the_order_is_fixed_for_all_time() -> None:
    assert shuffled("abcdef", 0) == ["f", "d", "a", "c", "b", "e"]
    assert shuffled("fedcba", 0) == shuffled("abcdef", 0) != shuffled("abcdef", 1)


def test_what_cannot_be_split() -> None:
    with pytest.raises(UserError, match=r"sum to 0.9"):
        split(corpus(), {"train": 0.8, "test": 0.1})
    with pytest.raises(UserError, match=r"2 speaker\(s\) cannot fill 3 parts"):
        split(corpus(2), {"a": 0.5, "b": 0.25, "c": 0.25})
    data = corpus()
    del data.utt2spk["s3-2"]
    with pytest.raises(UserError, match="utt2spk: no speaker for utterance 's3-2'"):
        split(data, {"train": 0.5, "test": 0.5})
    with pytest.raises(UserError, match="11 folds of 10"):
        folds(corpus(), 11)


def test_leave_one_speaker_out_tests_everyone_once() -> None:
    data = corpus(5)
    made = folds(data, "loso")
    assert [set(fold["test"].utt2spk.values()) for fold in made] == [{f"s{i}"} for i in range(5)]
    assert [set(fold["dev"].utt2spk.values()) for fold in made] == [{f"s{(i + 1) % 5}"} for i in range(5)]
    for fold in made:
        check_leakage(*fold.values())
        assert sum(map(len, fold.values())) == len(data)
    assert [set(fold) for fold in folds(data, 3, dev=False)] == [{"train", "test"}] * 3
    tested = [id for fold in folds(data, 3) for id in fold["test"].ids()]
    assert sorted(tested) == data.ids()


def test_leaks_are_named() -> None:
    data = corpus()
    a, b = data.subset(["s1-0", "s2-0"]), data.subset(["s1-1", "s3-0"])
    a.path, b.path = Path("train"), Path("test")
    with pytest.raises(UserError, match=r"train and test share 1 speaker\(s\): 's1'"):
        check_leakage(a, b)
    check_leakage(a, b, allow={"speaker"})
    b.utt2spk = dict.fromkeys(b.utt2spk, "x")
    b.wav["s3-0"] = "/audio/s2-0.wav"
    with pytest.raises(UserError, match=r"share 1 file\(s\): '/audio/s2-0.wav'"):
        check_leakage(a, b)


def test_split_by_recording_keeps_segments_together() -> None:
    data = DataDir(Path("x"), wav={f"r{i}": f"/r{i}.wav" for i in range(4)})
    data.segments = {f"r{i}-{j}": Segment(f"r{i}", float(j), j + 1.0) for i in range(4) for j in range(3)}
    parts = split(data, {"train": 0.5, "test": 0.5}, by="recording")
    check_leakage(*parts.values())
    assert {len(part) for part in parts.values()} == {6}


def test_verb_writes_parts_and_split_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = corpus(path=tmp_path / "all")
    source.write()
    out = tmp_path / "out"
    assert main(["split", str(tmp_path / "all"), str(out), "--parts", "train:0.7,test:0.3", "--seed", "3"]) == 0
    saved = json.loads((out / "split.json").read_text())
    assert saved["seed"] == 3 and saved["by"] == "speaker" and saved["source_sha256"] == fingerprint(source)
    for name in ("train", "test"):
        assert saved["parts"][name]["speakers"] == sorted(set(DataDir.read(out / name).utt2spk.values()))
    assert main(["split", str(tmp_path / "all"), str(out / "cv"), "--folds", "5"]) == 0
    assert main(["split", str(tmp_path / "all"), str(out / "loso"), "--folds", "loso", "--dev", "false"]) == 0
    assert 6 < len(DataDir.read(out / "cv/fold5/dev")) < 30 and len(DataDir.read(out / "loso/fold10/test")) == 6
    for words, said in ((["--parts", "train-1"], "expected NAME:SHARE"), (["--folds", "many"], "expected a number or 'loso'")):
        assert main(["split", str(tmp_path / "all"), str(out), *words]) == 2
        assert said in capsys.readouterr().err


def test_a_moved_copy_has_the_same_fingerprint(tmp_path: Path) -> None:
    data = corpus()
    data.write(tmp_path / "copy")
    assert fingerprint(DataDir.read(tmp_path / "copy")) == fingerprint(data)
    data.utt2spk["s1-1"] = "s2"
    assert fingerprint(DataDir.read(tmp_path / "copy")) != fingerprint(data)
