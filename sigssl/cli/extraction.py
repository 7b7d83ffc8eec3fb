"""What `sigssl features` and `sigssl embed` share: options, and how the result is told."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

from sigssl.errors import UserError
from sigssl.extract.parallel import Running, cpus

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from sigssl.extract.finish import Summary

NAMED = 5  # notes and reasons that are told; the rest is in quarantine.tsv


def add_options(parser: ArgumentParser) -> None:
    """The options of a verb that goes over many recordings."""
    add = parser.add_argument
    add("--nj", type=int, default=0, help="worker processes; 0: one per processor (with a GPU: one)")
    add("--dask", type=str, default="", help="address of a Dask scheduler (tcp://host:8786), whose workers take the place of --nj")
    add("--channel", type=int | Literal["mean"], default=0, help="which channel of several: a number from 0, or mean")
    add("--rate", type=Literal["resample", "refuse"], default="resample", help="recordings at another rate: resample or set aside")
    add("--allow-commands", action="store_true", help="run the commands (... |) that wav.scp holds in place of files")
    add("--min-good", type=float, default=0.95, help="share of good recordings below which it is an error")
    add("--overwrite", action="store_true", help="start anew where OUT was begun with other settings or input")
    add("--quiet", action="store_true", help="no progress bar")


def running(args: Namespace, title: str, source: str, *, nj: int = 0) -> Running:
    """How to run, from the parsed options; `nj` is the default where they leave it open (0: one per processor)."""
    if args.nj < 0:
        raise UserError(f"--nj {args.nj}: expected a number of processes, or 0 for one per processor.")
    return Running(
        nj=args.nj or nj or cpus(),
        dask=args.dask,
        min_good=args.min_good,
        overwrite=args.overwrite,
        bar="" if args.quiet else title,
        source=source,
    )


def tell(summary: Summary) -> int:
    """Print what was done; the exit code: 1 where recordings were set aside."""
    for line in summary.lines():
        print(line, file=sys.stderr if summary.bad else sys.stdout)
    return 1 if summary.bad else 0
