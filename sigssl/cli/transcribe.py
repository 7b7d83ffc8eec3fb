"""`sigssl transcribe`: recordings to text."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from sigssl.cli.common import make_parser, parse
from sigssl.cli.decoding import add_search, search_settings, write_results
from sigssl.errors import UserError
from sigssl.extract.parallel import start_early

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from sigssl.asr.recognise import Transcribed, TranscribeJob
    from sigssl.extract.shards import Shard


def main(argv: Sequence[str]) -> int:
    """Run the verb; 1 where recordings were set aside."""
    args = parse(_parser(), argv)
    if args.nj < 0:
        raise UserError(f"--nj {args.nj}: expected a number of processes, or 0 for one per processor.")
    if args.nj != 1 and args.device == "cpu":
        start_early("sigssl.asr.recognise")
    from sigssl.asr.decode import DecodeSettings, Part
    from sigssl.asr.recognise import TranscribeJob, finish_logprobs
    from sigssl.asr.recogniser import read_recogniser_meta
    from sigssl.data.datadir import DataDir, is_data_dir
    from sigssl.extract.embed import pick_device
    from sigssl.extract.parallel import cpus
    from sigssl.extract.reading import Reading
    from sigssl.extract.shards import plan
    from sigssl.extract.sources import find_utterances

    out, device = Path(args.out), pick_device(args.device)
    settings = DecodeSettings(**search_settings(args), joint_beam=args.joint_beam)
    data = args.source[0] if len(args.source) == 1 and is_data_dir(args.source[0]) else None
    shards = plan(find_utterances(args.source, allow_commands=args.allow_commands))
    reading = Reading(int(read_recogniser_meta(args.model)["sample_rate"]), args.channel, long=args.stream_above)
    logprobs = out / "logprobs"
    job = TranscribeJob(args.model, settings, reading, device, args.batch_seconds, str(logprobs) if args.keep_logprobs else "")
    recogniser, _ = job.ready()  # here, so that what is wrong with the model or the search is said once
    if args.keep_logprobs:
        logprobs.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    nj = args.nj or (cpus() if device == "cpu" else 1)
    done = _run(job, shards, nj, quiet=args.quiet)
    part = Part([t for one in done for t in one.part.transcripts], sorted(b for one in done for b in one.part.bad))
    if args.keep_logprobs:
        about = {"frame_shift": recogniser.frame_shift, "sample_rate": recogniser.sample_rate, "model": args.model}
        finish_logprobs(logprobs, recogniser.tokens, [entry for one in done for entry in one.entries], about)
    about = {"source": args.source, "model": args.model, "settings": asdict(settings)}
    places = DataDir.read(data, allow_commands=args.allow_commands) if data else None
    return write_results(out, part, recogniser.tokens, about, time.perf_counter() - begin, places)


def _run(job: TranscribeJob, shards: list[Shard], nj: int, *, quiet: bool) -> list[Transcribed]:
    """All shards, here or in worker processes; where there are fewer shards than `nj`, each worker gets more threads."""
    import functools

    from tqdm import tqdm

    from sigssl.extract.parallel import in_threads, in_workers

    workers = min(nj, len(shards))
    call = functools.partial(in_threads, job, max(nj // workers, 1))
    made = map(call, shards) if workers <= 1 else in_workers(call, shards, workers)
    total = sum(len(shard.utterances) for shard in shards)
    done = []
    with tqdm(desc="transcribe", total=total, disable=quiet, dynamic_ncols=True) as bar:
        for one in made:
            done.append(one)
            bar.update(len(one.part.transcripts) + len(one.part.bad))
    return done


def _parser() -> ArgumentParser:
    parser = make_parser(
        "transcribe",
        "Transcribe recordings of any rate and length with a recogniser of sigssl finetune asr: text (Kaldi's), ctm (word times "
        "and confidences), nbest.jsonl. Long recordings are streamed at bounded memory; those that cannot be read are set aside in "
        "OUT/quarantine.tsv (exit code 1).",
        "sigssl transcribe recordings/ interview.mp3 --model exp/asr --out transcripts",
    )
    add = parser.add_argument
    add("source", type=str, nargs="+", help="audio files, folders of them, lists of files, a data directory, or shar:DIR")
    add("--model", type=str, required=True, help="run of sigssl finetune asr, or its recogniser/ folder")
    add("--out", type=str, required=True, help="output folder: text, ctm, nbest.jsonl, decode.json, quarantine.tsv")
    add_search(parser, ["auto", "greedy", "beam", "lexicon", "joint"], "auto")
    add("--joint-beam", type=int, default=8, help="hypotheses kept from token to token in joint decoding")
    add("--keep-logprobs", action="store_true", help="also write OUT/logprobs, which sigssl decode and sigssl align read")
    add("--channel", type=int | str, default=0, help="channel of recordings with several: a number from 0, or mean")
    add("--stream-above", type=float, default=120.0, help="seconds above which a recording is streamed, not held in memory")
    add("--batch-seconds", type=float, default=60.0, help="signal in a batch, padding included: lower it to save memory")
    add("--device", type=str, default="auto", help="cpu, cuda, cuda:N, or auto: cuda where there is one")
    add("--allow-commands", action="store_true", help="run the commands that a wav.scp holds in place of files")
    add("--nj", type=int, default=0, help="worker processes; 0: one per processor")
    add("--quiet", action="store_true", help="no progress bar")
    return parser
