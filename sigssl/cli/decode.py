"""`sigssl decode`: log-probabilities to text, CTM and n-best lists."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from sigssl.cli.common import make_parser, parse
from sigssl.cli.decoding import add_search, search_settings, write_results
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
    from sigssl.asr.store import LogProbs
    from sigssl.data.datadir import DataDir
    from sigssl.extract.parallel import cpus

    settings = DecodeSettings(**search_settings(args))
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
    about = {"source": args.source, "settings": asdict(settings)}
    return write_results(Path(args.out), part, store.tokens, about, time.perf_counter() - begin, places)


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
    add_search(parser, ["greedy", "beam", "lexicon"], "beam")
    add("--data", type=str, default="", help="data directory whose segments the CTM's recordings and times come from")
    add("--nj", type=int, default=0, help="worker processes; 0: one per processor")
    add("--quiet", action="store_true", help="no progress bar")
    return parser
