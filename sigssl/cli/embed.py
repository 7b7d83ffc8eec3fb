"""`sigssl embed`: an encoder's hidden states of a data directory, a folder, files, or a list of files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from sigssl.cli.common import make_parser, parse
from sigssl.cli.extraction import add_options, running, tell
from sigssl.extract.parallel import start_early

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def main(argv: Sequence[str]) -> int:
    """Run the verb; 1 where recordings were set aside."""
    args = parse(_parser(), argv)
    if args.nj != 1 and not args.dask and args.device == "cpu":
        start_early("sigssl.extract.embed")
    from sigssl.extract.embed import embed, pick_device
    from sigssl.extract.epochs import embed_nights, is_night_store
    from sigssl.extract.layers import Selection, read_weights
    from sigssl.extract.reading import Reading
    from sigssl.extract.sources import find_utterances
    from sigssl.training.checkpoint import read_meta

    device = pick_device(args.device)
    if is_night_store(args.source):
        return _nights(embed_nights(args.source[0], args.model, args.out, device=device), args.out)
    weights = read_weights(args.weights) if args.weights else None
    reading = Reading(int(read_meta(args.model)["sample_rate"]), args.channel, resample=args.rate == "resample")
    summary = embed(
        find_utterances(args.source, allow_commands=args.allow_commands),
        args.model,
        args.out,
        selection=Selection(args.layer, args.pool, weights),
        reading=reading,
        format=args.format,
        device=device,
        batch_seconds=args.batch_seconds,
        running=running(args, "embed", " ".join(args.source), nj=0 if device == "cpu" else 1),
    )
    return tell(summary)


def _nights(bad: dict[str, str], out: str) -> int:
    for id, why in bad.items():
        print(f"{id}: {why}")
    print(f"{out}: one row per epoch in emb.scp; {len(bad)} nights set aside")
    return 1 if bad else 0


def _parser() -> ArgumentParser:
    parser = make_parser(
        "embed",
        "Write an encoder's hidden states. Long recordings are worked on in overlapping windows at bounded memory. A run that was "
        "interrupted or killed goes on where it was when the same command is given again; recordings that cannot be read are set "
        "aside in OUT/quarantine.tsv (exit code 1).",
        "sigssl embed --model exp/tera data/test exp/emb --layer all --pool mean",
    )
    add = parser.add_argument
    add(
        "source",
        type=str,
        nargs="+",
        help="data directory (with wav.scp), shar:DIR (lhotse Shar), folders of audio, audio files, lists of files, or a store of "
        "nights (a row per epoch)",
    )
    add("out", type=str, help="output folder: emb.scp and emb.N.ark (or .npy files), emb.json, utt2num_frames, quarantine.tsv")
    add("--model", type=str, required=True, help="run, exported encoder, folder of transformers, hf:ORG/NAME, s3prl:NAME")
    add("--layer", type=str, default="all", help="all, last, weighted (sum over layers), or a number (0 is the input embedding)")
    add("--weights", type=str | None, default=None, help="file with a weight per state for --layer weighted; without: their mean")
    add("--pool", type=Literal["none", "mean", "mean+std"], default="none", help="over time")
    add("--format", type=Literal["ark", "npy"], default="ark", help="Kaldi ark, or NumPy files")
    add("--device", type=str, default="auto", help="cpu, cuda, cuda:N, or auto: cuda where there is one")
    add("--batch-seconds", type=float, default=60.0, help="signal in a batch, padding included: lower it to save memory")
    add_options(parser)
    return parser
