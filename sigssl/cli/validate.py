"""`sigssl validate`: check a data directory, name every fault with file, line and remedy, and mend it with --fix."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal

from sigssl.cli.common import make_parser, parse


def main(argv: Sequence[str]) -> int:
    """Run the verb; 0 sound, 1 faults but usable, 2 stop."""
    parser = make_parser(
        "validate",
        "Check a data directory: order, ids, transcripts, segments, labels, and by decoding them the recordings. Exit code "
        "0: sound; 1: some utterances or lines are faulty; 2: fewer than --min-good are usable, or no data directory.",
        "sigssl validate data/train --fix --nj 4",
    )
    parser.add_argument("dir", type=str, help="data directory")
    parser.add_argument("--fix", action="store_true", help="mend what is safe; old files go into DIR/.backup")
    parser.add_argument(
        "--audio",
        type=Literal["decode", "header", "none"],
        default="decode",
        help="open recordings and features: all of it (alone finds truncated FLAC and NaN), their headers, or not",
    )
    parser.add_argument("--sample-rate", type=int | None, default=None, help="rate that all recordings must have, in Hz")
    parser.add_argument("--min-good", type=float, default=0.95, help="share of usable utterances below which all stops")
    parser.add_argument("--quarantine", type=str | None, default=None, help="write the unusable utterances to this TSV file")
    parser.add_argument("--most", type=int, default=5, help="findings shown of each kind")
    parser.add_argument("--nj", type=int, default=1, help="worker processes")
    args = parse(parser, argv)

    from sigssl.data.validate import validate

    report = validate(
        args.dir,
        depth=args.audio,
        fix=args.fix,
        sample_rate=args.sample_rate,
        min_good=args.min_good,
        nj=args.nj,
        show=sys.stderr.isatty(),
    )
    if args.quarantine:
        report.write_quarantine(args.quarantine)
    print(report.text(args.most))
    return report.exit_code
