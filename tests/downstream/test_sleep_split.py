"""Folds over subjects: disjoint, stable, saved with their hash, and leakage refused."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from sigssl.downstream.sleep_sources import _folders
from sigssl.downstream.sleep_split import check_folds, make_folds, part_of, read_split, save_split, split_hash
from sigssl.errors import UserError

PEOPLE = [f"SC{i:02d}" for i in range(23)]


@pytest.mark.parametrize("count", [2, 5, 23, "loso"])
def test_everyone_is_tested_once_and_parts_share_nobody(count: int | str) -> None:
    folds = make_folds(PEOPLE, count)
    assert check_folds(folds, PEOPLE) == []
    assert sorted(s for fold in folds for s in fold.test) == PEOPLE
    for fold in folds:
        assert sorted([*fold.train, *fold.validation, *fold.test]) == PEOPLE


def test_order_and_repetition_of_the_subjects_do_not_matter() -> None:
    assert make_folds(PEOPLE) == make_folds([*reversed(PEOPLE), *PEOPLE])
    assert split_hash(make_folds(PEOPLE)) == split_hash(make_folds(PEOPLE[::-1])) != split_hash(make_folds(PEOPLE, seed=1))


def test_saved_and_read(tmp_path: Path) -> None:
    folds = make_folds(PEOPLE, 3)
    assert save_split(tmp_path / "split.json", folds) == split_hash(folds)
    assert read_split(tmp_path / "split.json") == folds
    content = json.loads((tmp_path / "split.json").read_text())
    content["folds"][0]["test"].pop()
    (tmp_path / "split.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="was changed"):
        read_split(tmp_path / "split.json")


def test_leakage_is_refused() -> None:
    folds = make_folds(PEOPLE, 3)
    first = folds[0]
    with pytest.raises(UserError, match="both train and test"):
        check_folds([replace(first, train=[*first.train, first.test[0]])], PEOPLE)
    with pytest.raises(UserError, match="both validation and test"):
        check_folds([replace(first, validation=[first.test[0]])], PEOPLE)
    with pytest.raises(UserError, match="no data of"):
        check_folds(folds, PEOPLE[1:])
    with pytest.raises(UserError, match="tested in two folds"):
        check_folds([first, first], PEOPLE)
    with pytest.raises(UserError, match="nobody is in validation"):
        check_folds([replace(first, validation=[])], PEOPLE)


def test_pretraining_subjects_may_not_be_tested() -> None:
    folds = make_folds(PEOPLE, 3)
    with pytest.raises(UserError, match="pretrained on test subjects"):
        check_folds(folds[:1], PEOPLE, [folds[0].test[0], "other"])
    assert "none of them a test subject" in check_folds(folds[:1], PEOPLE, folds[0].train)[0]


def test_fractions_are_nested() -> None:
    parts = [part_of(PEOPLE, share) for share in (0.01, 0.1, 0.5, 1.0)]
    assert [len(p) for p in parts] == [1, 2, 12, 23]
    for small, large in itertools.pairwise(parts):
        assert set(small) <= set(large)


def test_too_few() -> None:
    with pytest.raises(UserError, match="at least"):
        make_folds(["a", "b"], 5)


def test_encoders_of_folds_are_found_by_absolute_and_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / f"net_{name}").mkdir()
    monkeypatch.chdir(tmp_path)
    assert _folders("net_{fold}") == ["net_a", "net_b"]
    assert _folders(str(tmp_path / "net_{fold}")) == [str(tmp_path / f"net_{name}") for name in ("a", "b")]
    with pytest.raises(UserError, match="no folder fits"):
        _folders("other_{fold}")


def test_a_split_of_data_directories_is_one_fold(tmp_path: Path) -> None:
    parts = {"train": ["a", "b"], "dev": ["c"], "test": ["d"], "ssl": ["e"]}
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"parts": {name: {"speakers": who} for name, who in parts.items()}}), encoding="utf-8")
    (fold,) = read_split(path)
    assert (fold.train, fold.validation, fold.test) == (["a", "b"], ["c"], ["d"])
    path.write_text(json.dumps({"parts": {"train": {"speakers": ["a"]}}}), encoding="utf-8")
    with pytest.raises(UserError, match="no part 'dev'"):
        read_split(path)
