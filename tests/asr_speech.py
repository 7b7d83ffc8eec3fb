"""A made-up language in which every letter is a tone: words that a tiny model learns within seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from sigssl.data.datadir import DataDir

RATE = 8000
TONES = {letter: 400.0 + 350.0 * number for number, letter in enumerate("abcdefg")}
WORDS = ["bad", "cab", "fed", "gag", "deaf"]


def say(text: str, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """A signal [N]: 0.1 s of tone a letter, 0.04 s of quiet behind it, 0.1 s more between words."""
    rng = np.random.default_rng(seed)
    quiet = [np.zeros(round(0.15 * rate))]
    for word in text.split():
        for letter in word:
            time = np.arange(round(0.1 * rate)) / rate
            quiet += [0.3 * np.sin(2 * np.pi * TONES[letter] * time), np.zeros(round(0.04 * rate))]
        quiet.append(np.zeros(round(0.1 * rate)))
    signal = np.concatenate([*quiet, np.zeros(round(0.1 * rate))])
    return (signal + 0.002 * rng.standard_normal(len(signal))).astype(np.float32)


def texts(count: int, seed: int = 0, words: int = 3) -> list[str]:
    """Sentences of 1 to `words` words."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(1, words + 1))) for _ in range(count)]


def corpus(folder: Path, count: int, seed: int = 0, words: int = 3) -> DataDir:
    """A data directory of sentences by four speakers."""
    folder.mkdir(parents=True, exist_ok=True)
    wav, text = {}, {}
    for number, sentence in enumerate(texts(count, seed, words)):
        id = f"s{number % 4}-{number:03d}"
        wav[id], text[id] = str(folder / f"{id}.wav"), sentence
        soundfile.write(wav[id], say(sentence, number), RATE)
    made = DataDir(folder, wav=wav, text=text, utt2spk={id: id[:2] for id in wav})
    made.write()
    return made
