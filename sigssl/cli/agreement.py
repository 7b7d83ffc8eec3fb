"""`sigssl agreement`: how far two scorings of the same nights agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sigssl.cli.common import make_parser, parse


def main(argv: Sequence[str]) -> int:
    """Run the verb; 1 where nights could not be compared."""
    parser = make_parser(
        "agreement",
        "Compare two scorings of the same nights, two scorers' or a scorer's and a program's: kappa, scores by stage, confusion, "
        "and Bland-Altman of the sleep statistics, with intervals over persons. Hypnograms may be EDF+, XML, text, CSV or BIDS.",
        "sigssl agreement scorer1/ scorer2/ --out exp/agreement",
    )
    add = parser.add_argument
    add("first", type=str, help="hypnogram or folder of them: the reference, or the first scorer")
    add("second", type=str, help="hypnogram or folder of them, paired with the first by name")
    add("--out", type=str, required=True, help="output folder; index.html is its report")
    add("--epoch", type=float, default=30.0, help="seconds of an epoch")
    add("--everything", action="store_true", help="compare every epoch, not only those up to 30 min around the first one's sleep")
    add("--persons", type=str, default="", help="table 'NIGHT PERSON', for intervals over persons; default: from the files' names")
    args = parse(parser, argv)
    from sigssl.cli.stage import agreement_line
    from sigssl.data.io import read_table
    from sigssl.reports.scorers import compare

    persons = read_table(args.persons) if args.persons else None
    out = Path(args.out)
    _, bad = compare(Path(args.first), Path(args.second), out, args.epoch, everything=args.everything, persons=persons)
    print(agreement_line(out / "agreement.json"))
    for name, why in bad:
        print(f"{name}: not compared: {why}")
    print(f"{out / 'index.html'} is written.")
    return 1 if bad else 0
