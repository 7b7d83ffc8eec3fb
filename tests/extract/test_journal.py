"""Shards, their keys, and the journal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigssl.data.datadir import Utterance
from sigssl.errors import UserError
from sigssl.extract.journal import Journal, read_outcomes
from sigssl.extract.shards import Bad, Entry, Outcome, plan
from sigssl.extract.sources import find_utterances

SETTINGS = {"features": {"n_mels": 80}, "cmvn": "none"}


def utterances(count: int) -> list[Utterance]:
    return [Utterance(f"u{n:07d}", f"/nowhere/{n}.wav", 0.0, None, None, None) for n in range(count)]


@settings(deadline=None)
@given(st.integers(1, 600), st.integers(1, 100))
def test_shards_hold_every_utterance_once_in_order(count: int, largest: int) -> None:
    shards = plan(utterances(count), largest)
    assert [u for shard in shards for u in shard.utterances] == utterances(count)
    assert [shard.number for shard in shards] == list(range(1, len(shards) + 1))
    assert max(len(shard.utterances) for shard in shards) <= largest


def test_a_changed_file_changes_the_key_of_its_shard_alone(corpus: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"1")
    (tmp_path / "b.wav").write_bytes(b"1")
    before = plan(find_utterances(tmp_path))
    (tmp_path / "b.wav").write_bytes(b"12")
    after = plan(find_utterances(tmp_path))
    assert [one.key == other.key for one, other in zip(before, after, strict=True)] == [True, False]


def outcome(number: int, key: str) -> Outcome:
    return Outcome(number, key, [Entry("a\u2028b", [f"feats.{number}.ark:7"], 3)], [Bad("c", "c.wav", "why")], 1.5, {}, {"note": 2})


def test_a_journal_gives_back_what_it_was_told_and_drops_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    shards = plan(utterances(3))
    journal = Journal(path, SETTINGS, {"utterances": 3})
    for shard in shards:
        journal.add(outcome(shard.number, shard.key))
    path.write_bytes(path.read_bytes()[:-20])
    again = Journal(path, SETTINGS, {"utterances": 3})
    assert [again.is_done(shard) for shard in shards] == [True, True, False]
    assert again.done[1] == outcome(1, shards[0].key)
    again.add(outcome(3, shards[2].key))
    assert [o.shard for o in read_outcomes(path)] == [1, 2, 3]


def test_a_shard_whose_file_is_gone_or_short_is_not_done(tmp_path: Path) -> None:
    (shard,) = plan(utterances(1))
    journal = Journal(tmp_path / "journal.jsonl", SETTINGS, {})
    (tmp_path / "feats.1.ark").write_bytes(b"123")
    made = outcome(1, shard.key)
    made.files = {"feats.1.ark": 3}
    journal.add(made)
    assert journal.is_done(shard)
    (tmp_path / "feats.1.ark").write_bytes(b"12")
    assert not journal.is_done(shard)


def test_other_settings_or_input_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path, SETTINGS, {"name": "here", "utterances": 3})
    Journal(path, SETTINGS, {"name": "there", "utterances": 3})
    with pytest.raises(UserError, match=r"settings.features.n_mels: 80 there, 40 now"):
        Journal(path, {"features": {"n_mels": 40}, "cmvn": "none"}, {"utterances": 3})
    with pytest.raises(UserError, match=r"input.utterances: 3 there, 4 now"):
        Journal(path, SETTINGS, {"utterances": 4})
    assert not Journal(path, {"other": 1}, {}, overwrite=True).done
