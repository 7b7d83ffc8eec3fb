"""Folds keep speakers and recordings apart, and leakage is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sigssl.downstream.protocol import (
    Fold,
    Item,
    check,
    check_pretraining,
    fixed_parts,
    hold_out,
    k_folds,
    leave_one_speaker_out,
)
from sigssl.errors import UserError


def table(speakers: int = 5, each: int = 12, parts: bool = False) -> list[Item]:
    names = ("train", "train", "train", "dev", "test")
    return [
        Item(f"s{s}-{u}", f"s{s}", f"s{s}-{u // 2}", "ab"[u // 2 % 2], names[s] if parts else "all")
        for s in range(speakers)
        for u in range(each)
    ]


def sets(items: list[Item], rows: np.ndarray, what: str) -> set[str]:
    return {getattr(items[row], what) for row in rows}


@pytest.mark.parametrize("inner", ["speakers", "part"])
def test_leave_one_speaker_out_tests_everyone_once(inner: str) -> None:
    items = table()
    folds = leave_one_speaker_out(items, inner, inner_folds=3)
    assert [fold.name for fold in folds] == ["s0", "s1", "s2", "s3", "s4"] and [f.index for f in folds] == [1, 2, 3, 4, 5]
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(items)))
    for fold in folds:
        assert not sets(items, fold.train, "speaker") & sets(items, fold.test, "speaker")
        assert len(fold.inner) == (3 if inner == "speakers" else 1)
        for train, dev in fold.inner:
            assert sorted([*train, *dev]) == sorted(fold.train) and len(train) and len(dev)
            assert not sets(items, train, "recording") & sets(items, dev, "recording")
            if inner == "speakers":
                assert not sets(items, train, "speaker") & sets(items, dev, "speaker")


def test_inner_folds_hold_every_training_speaker_out_once() -> None:
    items = table()
    fold = leave_one_speaker_out(items, inner_folds=9)[0]
    assert sorted(s for _, dev in fold.inner for s in sets(items, dev, "speaker")) == ["s1", "s2", "s3", "s4"]


def test_k_folds_keep_recordings_whole_and_every_class_everywhere() -> None:
    items = [dataclasses.replace(item, label=item.speaker) for item in table()]
    folds = k_folds(items, 3)
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(items)))
    for fold in folds:
        assert not sets(items, fold.train, "recording") & sets(items, fold.test, "recording")
        assert sets(items, fold.test, "label") == sets(items, fold.train, "label")


def test_given_parts_with_and_without_dev() -> None:
    items = table(parts=True)
    (fold,) = fixed_parts(items)
    ((train, dev),) = fold.inner
    assert np.array_equal(train, fold.train) and sets(items, dev, "speaker") == {"s3"}
    bare = [item for item in items if item.part != "dev"]
    (fold,) = fixed_parts(bare, part=0.25)
    ((train, dev),) = fold.inner
    assert sorted([*train, *dev]) == sorted(fold.train) and sets(bare, dev, "label") == {"a", "b"}


def test_hold_out_is_seeded_and_leaves_every_class_something() -> None:
    items, rows = table(), np.arange(60)
    first, again, other = (hold_out(items, rows, 0.2, seed)[1] for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert sets(items, hold_out(items, rows, 0.99, 0)[0], "label") == {"a", "b"}
    with pytest.raises(UserError, match="one recording only"):
        hold_out(items, np.array([0, 1]), 0.5, 0)


def test_shared_speakers_and_recordings_are_refused() -> None:
    items = table(parts=True)
    items[0] = dataclasses.replace(items[0], part="test")  # a training speaker's utterance in the test part
    items[1] = dataclasses.replace(items[1], part="test")
    with pytest.raises(UserError, match=r"1 speakers are in both training and test data .*: s0; .*sigssl split"):
        fixed_parts(items)
    assert fixed_parts(items, speakers_apart=False)
    items[1] = dataclasses.replace(items[1], part="train")  # and now half of its recording in each
    with pytest.raises(UserError, match="1 recordings are in both"):
        fixed_parts(items, speakers_apart=False)


def test_selection_on_a_test_speaker_is_refused() -> None:
    items = table(parts=True)
    items[48] = dataclasses.replace(items[48], part="dev")
    items[49] = dataclasses.replace(items[49], part="dev")
    with pytest.raises(UserError, match="s4"):
        fixed_parts(items)
    rows = np.arange(12)
    with pytest.raises(UserError, match="training and validation"):
        check(items, Fold("x", 1, rows, ((rows[:5], rows[5:]),), np.arange(48, 60)), speakers_apart=True)


def test_too_few_speakers_or_empty_parts() -> None:
    with pytest.raises(UserError, match="needs 3 speakers"):
        leave_one_speaker_out(table(2))
    with pytest.raises(UserError, match="test part holds no"):
        fixed_parts([item for item in table(parts=True) if item.part != "test"])
    with pytest.raises(UserError, match="--folds 99"):
        k_folds(table(), 99)


def test_pretraining_on_test_speakers_is_refused() -> None:
    items = table()
    fold = leave_one_speaker_out(items)[0]
    with pytest.raises(UserError, match=r"pretrained on test speakers of fold s0: s0.*\{fold\}"):
        check_pretraining(fold, items, ["s0", "s1"], "exp/tera")
    assert "none of them a test speaker" in check_pretraining(fold, items, ["s1"], "exp/tera")
    assert "unchecked" in check_pretraining(fold, items, None, "exp/tera")
