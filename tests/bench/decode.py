"""Decoding an hour of log-probabilities: `python tests/bench/decode.py [--hours 1] [--beam 50] [--rounds 3] [--only NAME ...]`.

Made-up log-probabilities of 32 characters at 50 frames a second: sentences of a made-up vocabulary, spoken with noise, in
utterances of 15 s. One process of one thread each; rounds are interleaved, medians compared, by the clock and by processor time
(which other work on the machine disturbs less). Without a language model:

    beam          sigssl's prefix beam search (numpy), rescored over all paths
    pyctcdecode   its defaults, but for the beam: tokens below -5 and beams 10 below the best are dropped
    flashlight    flashlight-text called bare, lexicon-free, tokens as many as ours, threshold 50

with a trigram (not in pyctcdecode, whose KenLM bindings have no wheel):

    beam+lm       sigssl's prefix beam search with its own reader
    lexicon+lm    sigssl's LexiconSearch: flashlight-text with KenLM, and rescoring

Quality is given as the share of characters that differ from what was spoken, since a search that drops more is faster.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jiwer
import numpy as np
import torch
from torch import Tensor

from sigssl.asr.beam import BeamSettings, beam_search
from sigssl.asr.ctc import collapse
from sigssl.asr.fusion import Fusion
from sigssl.asr.lexicon import LexiconSearch, LexiconSettings, spell
from sigssl.asr.ngram_build import build
from sigssl.asr.store import padded
from sigssl.asr.tokens import Tokens

LETTERS = "abcdefghijklmnopqrstuvwxyz'" + "\u00e4\u00f6\u00fc"
RATE, SECONDS, BATCH = 50, 15, 16
Decode = Callable[[list[Tensor]], list[str]]


def sentences(count: int, words: list[str], rng: np.random.Generator) -> list[str]:
    weights = 1 / np.arange(1, len(words) + 1)
    return [" ".join(rng.choice(words, size=28, p=weights / weights.sum())) for _ in range(count)]


def spoken(tokens: Tokens, text: str, noise: float, rng: np.random.Generator) -> Tensor:
    """Rows [T, V]: each token in one or two frames at even distances."""
    numbers, time_ = tokens.encode(text), RATE * SECONDS
    rows = rng.normal(scale=noise, size=(time_, len(tokens)))
    path = np.zeros(time_, dtype=np.int64)
    places = np.linspace(2, time_ - 3, len(numbers)).astype(int)
    path[places] = numbers
    rows[np.arange(time_), path] += 8
    return torch.from_numpy(rows.astype(np.float32)).log_softmax(-1)


def ours(tokens: Tokens, beam: int, fusion: Fusion | None) -> Decode:
    def decode(rows: list[Tensor]) -> list[str]:
        found = []
        for first in range(0, len(rows), BATCH):
            found += beam_search(*padded(rows[first : first + BATCH]), BeamSettings(beam), fusion)
        return [tokens.decode(one[0].tokens) for one in found]

    return decode


def pyctcdecode(tokens: Tokens, beam: int) -> Decode:
    from pyctcdecode import build_ctcdecoder

    decoder = build_ctcdecoder(["", " ", *tokens.tokens[2:]])
    return lambda rows: [decoder.decode(matrix.numpy(), beam_width=beam) for matrix in rows]


def flashlight(tokens: Tokens, beam: int) -> Decode:
    from flashlight.lib.text import decoder as library

    options = library.LexiconFreeDecoderOptions(
        beam_size=beam,
        beam_size_token=len(tokens),
        beam_threshold=50.0,
        lm_weight=0.0,
        sil_score=0.0,
        log_add=True,
        criterion_type=library.CriterionType.CTC,
    )
    model = library.ZeroLM()
    search = library.LexiconFreeDecoder(options, model, 1, 0, [])

    def decode(rows: list[Tensor]) -> list[str]:
        texts = []
        for matrix in rows:
            values = np.ascontiguousarray(matrix.numpy())
            texts.append(tokens.decode(collapse(search.decode(values.ctypes.data, *values.shape)[0].tokens)))
        return texts

    return decode


def lexicon(tokens: Tokens, beam: int, arpa: Path, words: list[str]) -> Decode:
    search = LexiconSearch(tokens, arpa, spell(tokens, words), LexiconSettings(beam))
    return lambda rows: [tokens.decode(search(m[None], torch.tensor([len(m)]))[0][0].tokens) for m in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--beam", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--noise", type=float, default=2.0)
    parser.add_argument("--only", nargs="+", default=["beam", "pyctcdecode", "flashlight", "beam+lm", "lexicon+lm"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    words = sorted({"".join(rng.choice(list(LETTERS), size=rng.integers(2, 9))) for _ in range(2000)})
    tokens = Tokens("characters", ["<blank>", "|", *LETTERS])
    train = [line.split() for line in sentences(2000, words, rng)]
    texts = sentences(max(round(options.hours * 3600 / SECONDS), 1), words, rng)
    rows = [spoken(tokens, text, options.noise, rng) for text in texts]
    model = build(train, 3)
    with tempfile.TemporaryDirectory() as folder:
        arpa = Path(folder) / "m.arpa"
        model.write(arpa)
        makers: dict[str, Callable[[], Decode]] = {
            "beam": lambda: ours(tokens, options.beam, None),
            "pyctcdecode": lambda: pyctcdecode(tokens, options.beam),
            "flashlight": lambda: flashlight(tokens, options.beam),
            "beam+lm": lambda: ours(tokens, options.beam, Fusion(tokens, model)),
            "lexicon+lm": lambda: lexicon(tokens, options.beam, arpa, model.words()),
        }
        contestants = {name: makers[name]() for name in options.only}
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
        wrong = {}
        for name in [name for _ in range(options.rounds) for name in contestants]:
            before = time.perf_counter(), time.process_time()
            found = contestants[name](rows)
            taken[name].append((time.perf_counter() - before[0], time.process_time() - before[1]))
            wrong[name] = jiwer.cer(texts, found)
            print(f"{name}: {taken[name][-1]}", file=sys.stderr)
    print(f"{len(texts) * SECONDS / 3600:.3f} h, {len(tokens)} tokens, beam {options.beam}, one thread\n")
    print("| search | s per hour | processor s per hour | x real time (processor) | CER % |\n|:--|--:|--:|--:|--:|")
    for name, rounds in taken.items():
        clock, processor = (statistics.median(some) * 3600 / (len(texts) * SECONDS) for some in zip(*rounds, strict=True))
        print(f"| {name} | {clock:.1f} | {processor:.1f} | {3600 / processor:.0f} | {100 * wrong[name]:.2f} |")


if __name__ == "__main__":
    main()
