"""Synthetic speech: the same seed gives the same bytes, the times fit the sound, the parts share no voice."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigssl.corpora import synthetic
from sigssl.corpora.acoustics import coloured_noise, convolve, record, room
from sigssl.corpora.phoneset import TIMIT39
from sigssl.corpora.sentences import GRAMMAR, LONGEST, TOPICS, articles, sentence, vocabulary
from sigssl.corpora.voices import ACCENTS, VARIANTS, cast
from sigssl.data import audio
from sigssl.data.datadir import DataDir
from sigssl.errors import UserError
from sigssl.optional import available, require

needs_espeak = pytest.mark.skipif(
    not available("espeakng_loader"), reason="espeakng-loader is not installed: pip install 'sigssl[demo]'"
)
Check = Callable[[dict[str, DataDir]], None]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, DataDir]]:
    out = tmp_path_factory.mktemp("clean")
    return out, synthetic.prepare(None, out, utts=36, speakers=3, seed=3, noise=False, reverb=False, lm_sentences=50, nj=3)


def sounds(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "audio").rglob("*.flac"))}


@needs_espeak
def test_parts_tables_and_times(clean: tuple[Path, dict[str, DataDir]], check: Check) -> None:
    out, made = clean
    check(made)
    assert {part: len(d) for part, d in made.items()} == {"train": 12, "dev": 12, "test": 12}
    assert len((out / "lm.txt").read_text().splitlines()) == 50
    for part, directory in made.items():
        words = defaultdict(list)
        for line in (out / part / "words.ctm").read_text().splitlines():
            name, channel, start, length, word = line.split()
            assert channel == "1" and float(length) > 0
            words[name].append((float(start), float(start) + float(length), word))
        assert {name: " ".join(word for *_, word in times) for name, times in words.items()} == directory.text
        for name, times in words.items():
            assert all(a[1] <= b[0] + 2e-4 for a, b in pairwise(times)), "words follow one another"
            assert times[-1][1] <= directory.utt2dur[name]
        assert {label for labels in directory.phones.values() for label in labels} <= set(TIMIT39)


@needs_espeak
def test_the_times_fit_the_sound(clean: tuple[Path, dict[str, DataDir]]) -> None:
    """Frames labelled silence are silent, vowels are loud, and fricatives lie higher than vowels."""
    energy, height = defaultdict(list), defaultdict(list)
    for directory in clean[1].values():
        for utterance in directory.utterances():
            samples = audio.read(utterance.path)[0]
            labels = directory.phones[utterance.id]
            frames = np.pad(samples, (0, 160 * len(labels) - len(samples))).reshape(-1, 160)
            level = 10 * np.log10(np.mean(frames**2, axis=1) / np.mean(samples**2) + 1e-9)
            spectra = np.abs(np.fft.rfft(frames)) ** 2 + 1e-12
            centre = spectra @ np.arange(81) * 100 / spectra.sum(axis=1)
            for label, decibel, hertz in zip(labels, level, centre, strict=True):
                energy[label].append(decibel)
                height[label].append(hertz)
    assert np.quantile(energy["sil"], 0.9) < -30 < -10 < min(np.median(energy[vowel]) for vowel in ("aa", "ae", "ay", "ow"))
    assert np.median(height["s"]) > 3500 and np.median(height["sh"]) > 2000
    assert max(np.median(height[name]) for name in ("aa", "ow", "m", "w")) < 1200
    assert 0.1 < len(energy["sil"]) / sum(map(len, energy.values())) < 0.4


@needs_espeak
def test_the_same_bytes_whatever_nj_and_a_finished_speaker_is_kept(clean: tuple[Path, dict[str, DataDir]], tmp_path: Path) -> None:
    options = {"utts": 6, "speakers": 3, "seed": 1, "lm_sentences": 1}
    synthetic.prepare(None, tmp_path / "a", **options, nj=1)
    synthetic.prepare(None, tmp_path / "b", **options, nj=3)
    first = sounds(tmp_path / "a")
    assert len(first) == 6 and first == sounds(tmp_path / "b")
    assert len(set(first.values()) | set(sounds(clean[0]).values())) == 6 + 36, "no two utterances are the same"

    done = tmp_path / "a" / "audio" / "spk001" / "done.json"
    kept = (tmp_path / "a" / "audio" / "spk000" / "spk000-00000.flac").stat().st_mtime_ns
    done.unlink()  # as if killed while the second speaker spoke
    (done.parent / "spk001-00001.flac").unlink()
    (done.parent / "spk001-00007.flac").write_bytes(b"stale")
    synthetic.prepare(None, tmp_path / "a", **options, nj=2)
    assert sounds(tmp_path / "a") == first
    assert (tmp_path / "a" / "audio" / "spk000" / "spk000-00000.flac").stat().st_mtime_ns == kept

    synthetic.prepare(None, tmp_path / "a", **{**options, "utts": 3}, nj=3)
    assert sounds(tmp_path / "a") == {name: data for name, data in first.items() if name.endswith("00000.flac")}


@needs_espeak
def test_hours_and_a_moved_folder(tmp_path: Path) -> None:
    made = synthetic.prepare(None, tmp_path / "a", hours=0.01, speakers=3, lm_sentences=0, nj=3)
    assert 36 <= sum(sum(d.utt2dur.values()) for d in made.values()) < 36 + 3 * 10
    (tmp_path / "a").rename(tmp_path / "b")
    before = sounds(tmp_path / "b")
    again = synthetic.prepare(None, tmp_path / "b", hours=0.01, speakers=3, lm_sentences=0, nj=3)
    assert sounds(tmp_path / "b") == before
    assert all(str(tmp_path / "b") in path for path in again["train"].wav.values())


@needs_espeak
def test_a_failing_process_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "cast", lambda count, seed: [s._replace(accent="nowhere") for s in cast(count, seed)])
    with pytest.raises(UserError, match=r"speaker spk000 .*nowhere.* failed with status 1:\nespeak-ng has no voice"):
        synthetic.prepare(None, tmp_path, utts=3, speakers=3, nj=1, lm_sentences=0)


@needs_espeak
def test_every_voice_is_there() -> None:
    """espeak-ng takes an unknown variant for the plain voice without a word."""
    data = Path(require("espeakng_loader", "here").get_data_path())
    assert all((data / "voices" / "!v" / variant).is_file() for variant in VARIANTS)


@pytest.mark.parametrize("options", [{"hours": 0.0}, {"utts": 2, "speakers": 3}, {"speakers": 2}, {"speakers": 999}, {"seed": -1}])
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, float]) -> None:
    with pytest.raises(UserError, match="expected"):
        synthetic.prepare(None, tmp_path, **options)
    with pytest.raises(UserError, match="leave --root out"):
        synthetic.prepare(tmp_path, tmp_path)


@given(st.integers(3, len(VARIANTS) * len(ACCENTS)), st.integers(0, 5))
def test_no_voice_is_in_two_parts(count: int, seed: int) -> None:
    crew = cast(count, seed)
    assert len({s.id for s in crew}) == len({s.voice for s in crew}) == count
    parts = defaultdict(set)
    for speaker in crew:
        parts[speaker.variant].add(speaker.part)
    assert all(len(of) == 1 for of in parts.values())
    sizes = Counter(s.part for s in crew)
    assert set(sizes) == {"train", "dev", "test"} and (count < 10 or sizes["train"] > count / 2)


def test_the_grammar_has_a_few_hundred_words_and_plain_sentences() -> None:
    rng = Random(0)
    drawn = [sentence(rng) for _ in range(3000)]
    known = set(vocabulary())
    assert 300 < len(known) < 600 and known == {word.lower() for word in known}
    assert {word for words in drawn for word in words} <= known
    assert all(2 <= len(words) <= LONGEST for words in drawn)
    assert len({tuple(words) for words in drawn}) > 2900
    numbers = {word for _ in range(2000) for word in sentence(rng, "numbers")}
    assert 30 < len(numbers) < 60 and numbers < known
    symbols = {part for choices in GRAMMAR.values() for choice in choices for part in choice if part.isupper()}
    assert symbols | set(TOPICS.values()) == set(GRAMMAR), "every rule is used, and every symbol has a rule"
    assert " ".join(articles(["a", "old", "cat", "and", "a", "dog"])) == "an old cat and a dog"


def test_bigrams_carry_information() -> None:
    """A bigram model halves the perplexity of a unigram model, so language models have something to give."""
    rng = Random(1)
    train, test = ([["<s>", *sentence(rng), "</s>"] for _ in range(n)] for n in (4000, 400))
    one = Counter(word for words in train for word in words)
    two = Counter(pair for words in train for pair in pairwise(words))
    pairs = [pair for words in test for pair in pairwise(words)]
    unigram = [one[after] / one.total() for _, after in pairs]
    bigram = [0.9 * two[before, after] / one[before] + 0.1 * p for (before, after), p in zip(pairs, unigram, strict=True)]
    assert np.log(bigram).mean() - np.log(unigram).mean() > np.log(2)


@given(st.integers(0, 50))
def test_recordings_keep_length_and_timing(seed: int) -> None:
    speech = np.zeros(8000, np.float32)
    speech[2000] = 0.5
    heard = record(speech, np.random.default_rng(seed), 16000, noise=False, reverb=True)
    assert heard.shape == speech.shape and int(np.abs(heard).argmax()) == 2000 and not np.abs(heard[:1999]).max() > 1e-5
    noisy = record(speech, np.random.default_rng(seed), 16000, noise=True, reverb=True)
    assert 0 < np.abs(noisy).max() <= 1 and np.abs(noisy[:1999]).min() > 0 and np.isfinite(noisy).all()


def test_room_and_noise() -> None:
    rng = np.random.default_rng(0)
    response = room(rng, 16000)
    assert response[0] == 1 and not response[1:40].any()
    fifth = len(response) // 5
    assert np.sum(response[fifth : 2 * fifth] ** 2) > 100 * np.sum(response[-fifth:] ** 2)
    signal = rng.normal(size=5000).astype(np.float32)
    np.testing.assert_allclose(convolve(signal, response), np.convolve(signal, response)[:5000], atol=1e-4)
    for slope in (0.0, 2.0):
        power = np.abs(np.fft.rfft(coloured_noise(rng, 65536, slope))) ** 2
        octaves = [power[1000:2000].mean(), power[8000:16000].mean()]
        assert np.log2(octaves[0] / octaves[1]) / 3 == pytest.approx(slope, abs=0.1)


def test_done_files_of_other_options_are_not_used(tmp_path: Path) -> None:
    job = synthetic.job_of(cast(3, 0)[0], 0, 1, 1.0, True, True)
    assert json.loads(json.dumps(job._asdict())) == job._asdict(), "a job survives JSON, so that done.json can be compared with it"
