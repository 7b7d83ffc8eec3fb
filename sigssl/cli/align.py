"""`sigssl align`: when each word of a transcript is said."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sigssl.cli.common import make_parser, parse
from sigssl.errors import UserError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def main(argv: Sequence[str]) -> int:
    """Run the verb; 1 where utterances were set aside."""
    args = parse(_parser(), argv)
    from sigssl.asr.forced import align_store
    from sigssl.asr.store import LogProbs
    from sigssl.asr.transcript import write_ctm, write_textgrid
    from sigssl.data.datadir import DataDir
    from sigssl.data.io import read_table, write_text

    store, out = LogProbs.open(args.source), Path(args.out)
    places = DataDir.read(args.text) if Path(args.text).is_dir() else None
    texts = places.text if places else read_table(args.text, empty_ok=True)
    unknown: Counter[str] = Counter()
    aligned, bad = align_store(store, texts, unknown)
    if not aligned:
        raise UserError(f"{args.text}: no utterance could be aligned; the first reason: {bad[0][1] if bad else 'no id in common'}")
    write_ctm(out / "ctm", ((one.id, one.words) for one in aligned), places)
    if args.textgrid:
        for one in aligned:
            write_textgrid(out / "textgrid" / f"{one.id}.TextGrid", {"words": one.words, "tokens": one.tokens}, one.seconds)
    write_text(out / "quarantine.tsv", "".join(f"{id}\t{reason}\n" for id, reason in bad))
    print(f"{len(aligned)} utterances: {out}/ctm{' and textgrid/*.TextGrid' if args.textgrid else ''}")
    if unknown:
        listed = ", ".join(f"{token!r} {count}" for token, count in unknown.most_common(10))
        print(f"left out, since the model has no token for them: {listed}", file=sys.stderr)
    if bad:
        print(f"{len(bad)} set aside, listed in {out}/quarantine.tsv; the first: {bad[0][1]}", file=sys.stderr)
    return 1 if bad else 0


def _parser() -> ArgumentParser:
    parser = make_parser(
        "align",
        "Align transcripts with log-probabilities of a CTC model: times and confidences of words as CTM, and of words and "
        "tokens as TextGrids for Praat. A CTC model says a token in few frames, so a word's edges are tight.",
        "sigssl align exp/asr/logprobs data/test exp/asr/align --textgrid",
    )
    parser.add_argument("source", type=str, help="folder of log-probabilities")
    parser.add_argument("text", type=str, help="data directory, or Kaldi's text file")
    parser.add_argument("out", type=str, help="output folder: ctm, textgrid/, quarantine.tsv")
    parser.add_argument("--textgrid", action="store_true", help="also write a TextGrid for each utterance")
    return parser
