"""`sigssl decode`: log-probabilities to text, CTM and n-best lists."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sigssl.cli.common import make_parser, parse
from sigssl.errors import UserError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from sigssl.asr.decode import Part


def main(argv: Sequence[str]) -> int:
    """Run the verb; 1 where utterances were set aside."""
    args = parse(_parser(), argv)
    if args.nj < 0:
        raise UserError(f"--nj {args.nj}: expected a number of processes, or 0 for one per processor.")
    from sigssl.asr.decode import DecodeJob, Decoder, DecodeSettings, shards
    from sigssl.asr.store import TOKENS, LogProbs
    from sigssl.asr.transcript import write_transcripts
    from sigssl.data.datadir import DataDir
    from sigssl.data.io import write_json, write_text
    from sigssl.extract.parallel import cpus

    settings = DecodeSettings(
        args.method, args.beam, args.nbest, args.lm, args.lm_weight, args.word_bonus, args.unknown, args.lexicon, args.longest
    )
    store = LogProbs.open(args.source)
    places = DataDir.read(args.data) if args.data else None
    work = shards(sorted(store.scp))
    nj = min(args.nj or cpus(), len(work))
    if nj > 1:
        Decoder(store.tokens, settings)  # so that what is wrong with the model or the lexicon is said once, before workers start
    begin = time.perf_counter()
    part = _run(DecodeJob(args.source, settings), work, nj, quiet=args.quiet)
    if not part.transcripts:
        raise UserError(f"{args.source}: none of {len(store.scp)} utterances could be decoded; the first: {part.bad[:1]}")
    out = Path(args.out)
    write_transcripts(out, part.transcripts, places)
    shutil.copyfile(Path(args.source) / TOKENS, out / TOKENS)
    seconds, taken = sum(one.seconds for one in part.transcripts), time.perf_counter() - begin
    blanks = sum(one.blanks * one.seconds for one in part.transcripts) / max(seconds, 1e-9)
    about = {"source": args.source, "settings": asdict(settings), "utterances": len(part.transcripts), "set_aside": len(part.bad)}
    write_json(out / "decode.json", {**about, "hours": seconds / 3600, "blank_ratio": blanks, "seconds_taken": round(taken, 2)})
    lines = "".join(f"{id}\t{file}\t{' '.join(reason.split())}\n" for id, file, reason in part.bad)
    write_text(out / "quarantine.tsv", lines)
    print(
        f"{len(part.transcripts)} utterances, {seconds / 3600:.2f} h in {taken:.1f} s ({seconds / taken:.0f} x real time), "
        f"{blanks:.0%} of frames blank: {out}/text, ctm, nbest.jsonl"
    )
    if part.bad:
        print(f"{len(part.bad)} set aside, listed in {out}/quarantine.tsv; the first: {part.bad[0][2]}", file=sys.stderr)
    return 1 if part.bad else 0


def _run(job: object, work: list[tuple[str, ...]], nj: int, *, quiet: bool) -> Part:
    """All shards, here or in worker processes."""
    import functools

    from tqdm import tqdm

    from sigssl.asr.decode import DecodeJob, Part
    from sigssl.extract.parallel import in_threads, in_workers

    assert isinstance(job, DecodeJob)
    call = functools.partial(in_threads, job, 1)
    parts = map(call, work) if nj <= 1 else in_workers(call, work, nj)
    transcripts, bad = [], []
    for part in tqdm(parts, desc="decode", total=len(work), disable=quiet, dynamic_ncols=True):
        transcripts += part.transcripts
        bad += part.bad
    return Part(transcripts, sorted(bad))


def _parser() -> ArgumentParser:
    parser = make_parser(
        "decode",
        "Search the likeliest texts in log-probabilities of a CTC model (logprobs.scp, logprobs.json, tokens.json) and write text "
        "(Kaldi's), ctm (word times and confidences) and nbest.jsonl.",
        "sigssl decode exp/asr/logprobs exp/asr/decode --lm exp/lm.arpa --lm-weight 0.5 --nj 2",
    )
    add = parser.add_argument
    add("source", type=str, help="folder of log-probabilities")
    add("out", type=str, help="output folder: text, ctm, nbest.jsonl, decode.json, tokens.json, quarantine.tsv")
    add(
        "--method",
        type=Literal["greedy", "beam", "lexicon"],
        default="beam",
        help="greedy; beam: prefix beam search, any spelling; lexicon: flashlight-text, only words of the model or lexicon",
    )
    add("--beam", type=int, default=50, help="hypotheses kept from frame to frame")
    add("--nbest", type=int, default=1, help="texts in nbest.jsonl")
    add("--lm", type=str, default="", help="ARPA file of a language model of words (sigssl lm makes one)")
    add("--lm-weight", type=float, default=0.5, help="weight of its natural logarithms")
    add("--word-bonus", type=float, default=1.5, help="added for each word, against the model's liking for few")
    add("--unknown", type=float, default=-10.0, help="added for each word that the model lacks")
    add("--lexicon", type=str, default="", help="file of lines WORD TOKEN TOKEN ...; by default the model's words are spelled")
    add("--longest", type=float, default=60.0, help="seconds above which an utterance is searched in pieces, cut at pauses")
    add("--data", type=str, default="", help="data directory whose segments the CTM's recordings and times come from")
    add("--nj", type=int, default=0, help="worker processes; 0: one per processor")
    add("--quiet", action="store_true", help="no progress bar")
    return parser
