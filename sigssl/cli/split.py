"""`sigssl split`: parts or folds of a data directory that share no speaker, seeded and saved."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from sigssl.cli.common import make_parser, parse
from sigssl.errors import UserError


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    parser = make_parser(
        "split",
        "Split a data directory into parts (OUT/train, ...) or folds (OUT/fold1/train, ...) that share no speaker. OUT/split.json "
        "keeps seed, hash of the source and speakers; the parts are checked for leakage.",
        "sigssl split data/all data/split --parts train:0.8,dev:0.1,test:0.1 --seed 1",
    )
    parser.add_argument("dir", type=str, help="data directory")
    parser.add_argument("out", type=str, help="folder of the parts")
    parser.add_argument("--parts", type=str, default="train:0.8,dev:0.1,test:0.1", help="NAME:SHARE,...")
    parser.add_argument("--folds", type=str | None, default=None, help="number of folds, or 'loso': leave one speaker out")
    parser.add_argument("--dev", type=bool, default=True, help="give each fold a dev part: what the next fold tests")
    parser.add_argument(
        "--by", type=Literal["speaker", "recording", "utterance"], default="speaker", help="what must not be divided"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the assignment")
    args = parse(parser, argv)
    shares = parse_parts(args.parts)
    if args.folds is not None and args.folds != "loso" and not args.folds.isdecimal():
        raise UserError(f"--folds {args.folds!r}: expected a number or 'loso'.")

    from sigssl.data.datadir import DataDir
    from sigssl.data.split import check_leakage, folds, save, split

    data = DataDir.read(args.dir, allow_commands=True)  # nothing is run here
    if args.folds is None:
        groups = [split(data, shares, by=args.by, seed=args.seed)]
    else:
        groups = folds(data, "loso" if args.folds == "loso" else int(args.folds), by=args.by, seed=args.seed, dev=args.dev)
    allowed = {"speaker": (), "recording": ("speaker",), "utterance": ("speaker", "recording", "file")}[args.by]
    for group in groups:
        check_leakage(*group.values(), allow=allowed)
    parts = {str(part.path): part for group in groups for part in group.values()}
    save(parts, args.out, data, by=args.by, seed=args.seed, folds=args.folds)
    for name, part in parts.items():
        hours = f", {sum(part.utt2dur.values()) / 3600:.2f} h" if part.utt2dur else ""
        print(f"{args.out}/{name}: {len(part)} utterances, {len(set(part.utt2spk.values()))} speakers{hours}")
    return 0


def parse_parts(text: str) -> dict[str, float]:
    """Parse `train:0.8,test:0.2`.

    Raises:
        UserError: another form, or a name twice.
    """
    made: dict[str, float] = {}
    for word in text.split(","):
        found = re.fullmatch(r"([\w.-]+):(\d*\.?\d+)", word.strip())
        if not found or found[1] in made:
            raise UserError(f"--parts {text!r}: cannot read {word!r}; expected NAME:SHARE,NAME:SHARE with different names.")
        made[found[1]] = float(found[2])
    return made
