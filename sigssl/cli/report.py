"""`sigssl report`: draw and tabulate what runs left in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sigssl.cli.common import make_parser, parse


def main(argv: Sequence[str]) -> int:
    """Run the verb; exit code 0."""
    parser = make_parser(
        "report",
        "Collect what a folder holds (pretraining runs, probes, feature stores) into one page with tables and figures: REPORT.md.",
        "sigssl report exp/mini --out exp/mini/report",
    )
    parser.add_argument("folder", type=str, help="experiment folder; searched with its subfolders")
    parser.add_argument("--out", type=str | None, default=None, help="where REPORT.md and figures go; default: FOLDER/report")
    words = parse(parser, argv)
    from sigssl.reports.report import write_report

    folder = Path(words.folder)
    page = write_report(folder, Path(words.out) if words.out is not None else folder / "report")
    print(f"{page} is written.")
    return 0
