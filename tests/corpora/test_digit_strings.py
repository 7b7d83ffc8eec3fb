"""Strings of digits: each clip in one part, texts in the order of the clips, silence at the clips' floor, the same bytes again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sigssl.corpora import digit_strings
from sigssl.corpora.fsdd import WORDS
from sigssl.data import audio
from sigssl.data.datadir import DataDir
from sigssl.data.io import read_lines
from sigssl.errors import UserError

RATE = 8000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two speakers, 12 takes; a clip is a loud square wave of its own period between quiet ends."""
    folder = tmp_path / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for speaker in ("ann", "ben"):
        for digit in range(10):
            for take in range(12):
                quiet = rng.normal(0, 0.001, (2, 240))
                loud = 0.3 * np.sign(np.sin(np.arange(1200) * (digit + 1) / 10))
                soundfile.write(folder / f"{digit}_{speaker}_{take}.wav", np.concatenate([quiet[0], loud, quiet[1]]), RATE)
    return tmp_path / "fsdd"


def clips_of(out: Path) -> dict[str, list[tuple[float, str]]]:
    made: dict[str, list[tuple[float, str]]] = {}
    for _, id, rest in read_lines(out / "strings.tsv"):
        start, clip = rest.split("\t")
        made.setdefault(id, []).append((float(start), clip))
    return made


def test_every_clip_is_heard_in_one_part(root: Path, tmp_path: Path, check: Callable[[dict[str, DataDir]], None]) -> None:
    made = digit_strings.prepare(root, tmp_path / "out")
    check(made)
    heard = clips_of(tmp_path / "out")
    parts = {name: {clip for id in made[name].ids() for _, clip in heard[id]} for name in ("train", "dev", "test")}
    assert {name: len(clips) for name, clips in parts.items()} == {"train": 40, "dev": 100, "test": 100}
    assert not parts["train"] & parts["dev"] | parts["dev"] & parts["test"] | parts["train"] & parts["test"]
    assert set(made["all"].ids()) == set(heard)
    for id, string in heard.items():
        assert 3 <= len(string) <= 7 and {clip.split("-")[0] for _, clip in string} == {made["all"].utt2spk[id]}
        assert made["all"].text[id] == " ".join(WORDS[int(clip.split("-")[1])] for _, clip in string)


def test_clips_stand_where_the_table_says_and_silence_is_at_their_floor(root: Path, tmp_path: Path) -> None:
    made = digit_strings.prepare(root, tmp_path / "out", shortest_gap=0.1, longest_gap=0.3)["dev"]
    heard = clips_of(tmp_path / "out")
    for id in made.ids()[:8]:
        signal = audio.read(made.wav[id])[0]
        inside = np.zeros(len(signal), dtype=bool)
        for start, clip in heard[id]:
            first = round(start * RATE)
            speaker, digit, take = clip.split("-")
            original = audio.read(root / "recordings" / f"{digit}_{speaker}_{int(take)}.wav")[0]
            assert np.allclose(signal[first + 32 : first + len(original) - 32], original[32:-32], atol=2**-15)
            inside[first : first + len(original)] = True
        pauses = np.diff(np.flatnonzero(inside))[np.diff(np.flatnonzero(inside)) > 1] / RATE
        assert ((pauses > 0.099) & (pauses < 0.301)).all() and len(pauses) == len(heard[id]) - 1
        assert 0.0003 < signal[~inside].std() < 0.0015


def test_the_same_settings_make_the_same_bytes_and_a_seed_others(root: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        digit_strings.prepare(root, tmp_path / name, seed=seed, passes=2)
    table = {name: (tmp_path / name / "strings.tsv").read_bytes() for name in ("one", "again", "other")}
    assert table["one"] == table["again"] != table["other"]
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one" / "audio").rglob("*.flac"))
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "again" / f).read_bytes() for f in files)
    heard = [clip for id, string in clips_of(tmp_path / "one").items() if "-train-" in id for _, clip in string]
    assert all(2 <= heard.count(clip) <= 4 for clip in heard)


def test_settings_that_make_no_string(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="shortest <= longest"):
        digit_strings.prepare(root, tmp_path / "out", shortest=8)
    with pytest.raises(UserError, match="20 clips for train"):
        digit_strings.prepare(root, tmp_path / "out", shortest=21, longest=30)


def test_real_digits(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    made = digit_strings.prepare(real_data("speech_digits"), tmp_path / "out")
    words = {word for text in made["all"].text.values() for word in text.split()}
    assert words == set(WORDS) and len(set(made["all"].utt2spk.values())) >= 5
    assert 2.0 < np.mean(list(made["all"].utt2dur.values())) < 5.0
