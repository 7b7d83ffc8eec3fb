"""`sigssl lhotse to`: a data directory as lhotse's cuts, or as Shar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from sigssl.cli.common import make_parser, parse
from sigssl.errors import UserError


def main(argv: Sequence[str]) -> int:
    """Run the verb; exit code 0."""
    parser = make_parser(
        "lhotse to",
        "Write the utterances of a data directory as a CutSet that lhotse opens (lhotse.load_manifest), with speakers, texts, "
        "labels (custom fields of the supervision) and, with --store, stored features; or, with --shar, as a folder of Shar: audio "
        "in numbered tar files that are read one after another.",
        "sigssl lhotse to data/train exp/lhotse/train.jsonl.gz",
    )
    add = parser.add_argument
    add("source", type=str, help="data directory")
    add("out", type=str, help="manifest to write (.jsonl or .jsonl.gz); with --shar a folder")
    add("--store", type=str | None, default=None, help="feature store (feats.scp, feats.json) that the cuts are to refer to")
    add("--audio", type=Literal["link", "write"], default="link", help="refer to the recordings, or write them anew as FLAC")
    add("--shar", type=int, default=0, help="write Shar with so many utterances in each shard; 0: a manifest")
    add("--allow-commands", action="store_true", help="run the commands (... |) that wav.scp holds in place of files")
    args = parse(parser, argv)

    from sigssl.data.datadir import DataDir
    from sigssl.data.io import whole
    from sigssl.interop.lhotse import AUDIO, to_lhotse, write_shar

    out = Path(args.out)
    if not args.shar and not out.name.endswith((".jsonl", ".jsonl.gz")):
        raise UserError(f"{out}: expected a name that ends in .jsonl or .jsonl.gz, or --shar N for a folder of Shar.")
    data = DataDir.read(args.source, allow_commands=args.allow_commands)
    write_audio = (out if args.shar else out.parent) / AUDIO if args.audio == "write" else None
    if args.shar and write_audio:
        raise UserError("--shar holds the audio itself; leave --audio write out.")
    cuts = to_lhotse(data, Path(args.store) if args.store else None, write_audio)
    if args.shar:
        shards = write_shar(cuts, out, args.shar)
        print(f"{out}: {len(cuts)} cuts in {shards} shards")
        return 0
    with whole(out) as temporary:
        cuts.to_file(temporary)
    print(f"{out}: {len(cuts)} cuts")
    return 0
