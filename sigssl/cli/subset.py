"""`sigssl subset`: a part of a data directory by utterances, speakers, number, hours, or so many of each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sigssl.cli.common import make_parser, parse
from sigssl.errors import UserError


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    parser = make_parser(
        "subset",
        "Keep some utterances of a data directory. Several conditions are applied in the order below.",
        "sigssl subset data/train data/train_1h --hours 1 --seed 3",
    )
    parser.add_argument("dir", type=str, help="data directory")
    parser.add_argument("out", type=str, help="folder of the result")
    parser.add_argument("--utts", type=str | None, default=None, help="utterance ids: a file (one per line), or ID,ID,...")
    parser.add_argument("--spks", type=str | None, default=None, help="speakers: a file (one per line), or ID,ID,...")
    parser.add_argument("--not-spks", type=str | None, default=None, help="none of these speakers: a file, or ID,ID,...")
    parser.add_argument("--per-class", type=int | None, default=None, help="so many of each class of utt2label, drawn")
    parser.add_argument("--hours", type=float | None, default=None, help="so many hours, drawn")
    parser.add_argument("--first", type=int | None, default=None, help="the first so many of the sorted ids")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws")
    args = parse(parser, argv)
    conditions = (args.utts, args.spks, args.not_spks, args.per_class, args.hours, args.first)
    if all(condition is None for condition in conditions):
        raise UserError("no condition given; expected at least one of --utts, --spks, --not-spks, --per-class, --hours, --first.")

    from sigssl.data.datadir import DataDir
    from sigssl.data.subset import choose

    data = DataDir.read(args.dir, allow_commands=True)  # nothing is run here
    part = choose(
        data,
        utts=listed(args.utts),
        spks=listed(args.spks),
        not_spks=listed(args.not_spks),
        per_class=args.per_class,
        hours=args.hours,
        first=args.first,
        seed=args.seed,
    )
    part.write(args.out)
    print(f"{args.out}: {len(part)} of {len(data)} utterances")
    return 0


def listed(value: str | None) -> list[str] | None:
    """The ids in a file, first word of each line, or those between commas."""
    if value is None:
        return None
    if Path(value).is_file():
        from sigssl.data.io import read_lines

        return [line.key for line in read_lines(value)]
    return value.split(",")
