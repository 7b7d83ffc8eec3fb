"""`sigssl combine`: join data directories."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from sigssl.cli.common import make_parser, parse


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    parser = make_parser(
        "combine",
        "Join data directories into OUT. Ids that are in two of them are reported; --prefix keeps them apart.",
        "sigssl combine data/all data/fsdd data/an4 --prefix fsdd,an4",
    )
    parser.add_argument("out", type=str, help="folder of the result")
    parser.add_argument("dirs", type=str, nargs="+", help="data directories")
    parser.add_argument(
        "--prefix", type=str | None, default=None, help="PREFIX,PREFIX,... for the ids of each, or 'name': the folders' names"
    )
    args = parse(parser, argv)

    from sigssl.data.combine import combine
    from sigssl.data.datadir import DataDir

    prefixes = args.prefix.split(",") if args.prefix else None
    if args.prefix == "name":
        prefixes = [Path(folder).resolve().name for folder in args.dirs]
    joined, remarks = combine([DataDir.read(d, allow_commands=True) for d in args.dirs], args.out, prefixes)  # nothing is run
    joined.write()
    for remark in remarks:
        print(f"sigssl combine: note: {remark}", file=sys.stderr)
    print(f"{args.out}: {len(joined)} utterances from {len(args.dirs)} directories")
    return 0
