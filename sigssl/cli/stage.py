"""`sigssl stage`: recordings of sleep into hypnograms, statistics, figures and a report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sigssl.cli.common import make_parser, parse
from sigssl.errors import UserError
from sigssl.extract.parallel import start_early
from sigssl.training.options import Precision

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from sigssl.reports.nights import Result


def main(argv: Sequence[str]) -> int:
    """Run the verb; 1 where recordings could not be staged."""
    args = parse(_parser(), argv)
    if args.nj > 1:
        start_early("sigssl.reports.nights")
    from sigssl.data.io import read_table
    from sigssl.downstream.night import NOTICE
    from sigssl.downstream.staging import StagingSettings
    from sigssl.reports.nights import NightJob, stage_nights
    from sigssl.reports.recordings import find_recordings

    if not 0 <= args.review_below <= 1:
        raise UserError(f"--review-below {args.review_below}: expected a probability from 0 to 1.")
    settings = StagingSettings(
        montage=args.channels,
        causal=args.causal,
        window=args.window,
        lights_off=args.lights_off,
        lights_on=args.lights_on,
        assume_unit=args.assume_unit,
        discontinuous=args.discontinuous,
        review_below=args.review_below,
        precision=args.precision,
    )
    recordings, notes = find_recordings(args.inputs, args.reference, read_table(args.persons) if args.persons else None)
    model = args.model or ("sleep_bandpower_causal" if args.causal else "sleep_bandpower")
    job = NightJob(model, settings, args.out, args.device, figure=args.figures)
    result = stage_nights(recordings, job, nj=args.nj, bar="stage", told=lambda line: print(line, file=sys.stderr))
    _tell(result, notes)
    print(NOTICE)
    return 1 if result.failed else 0


def _tell(result: Result, notes: Sequence[str]) -> None:
    done = [outcome for outcome in result.outcomes if not outcome.reason]
    before = sum(not outcome.new for outcome in done)
    earlier = f" ({before} of them by an earlier run)" if before else ""
    print(f"{len(done)} of {len(result.outcomes)} recordings staged{earlier}: {result.page}")
    for note in notes:
        print(note)
    if result.failed:
        print(f"{len(result.failed)} not staged, listed in {result.page.parent / 'failed.tsv'}")
    agreement = result.page.parent / "agreement.json"
    if agreement.is_file():
        print(agreement_line(agreement))


def agreement_line(path: Path) -> str:
    """One line on agreement."""
    from sigssl.data.io import read_json

    found = read_json(path)
    kappa, right, f1 = (found["pooled"][name]["value"] for name in ("kappa", "accuracy", "macro_f1"))

    def said(number: float | None, form: str) -> str:
        return "undefined" if number is None else format(number, form)

    return (
        f"agreement over {found['epochs']} epochs of {found['nights']} nights: kappa {said(kappa, '.3f')}, "
        f"accuracy {said(right, '.1%')}, macro F1 {said(f1, '.1%')}"
    )


def _parser() -> ArgumentParser:
    parser = make_parser(
        "stage",
        "Stage recordings of sleep. For each a folder with hypnogram.csv, BIDS events, EDF+ annotations, statistics.json, epochs "
        "for review and a figure; over all of them index.html and summary.tsv. A file that cannot be staged is listed in "
        "failed.tsv and the others go on (exit code 1); the same command given again does only what is not done. This is no "
        "medical device.",
        "sigssl stage recordings/ --out exp/staged --reference scored/ --nj 4",
    )
    add = parser.add_argument
    add("inputs", type=str, nargs="+", help="recordings (EDF, BDF, FIF, BrainVision, EEGLAB), or folders of them")
    add("--out", type=str, required=True, help="output folder; index.html is its report")
    add(
        "--model",
        type=str,
        default="",
        help="a shipped stager, or the folder of a trained one; default: sleep_bandpower, with --causal sleep_bandpower_causal",
    )
    add("--reference", type=str, default="", help="hypnograms to compare with: a folder, paired by name, or one file")
    add(
        "--channels",
        type=str,
        default="",
        help="where the model's channels are: a montage's name or a YAML file; default: the model's",
    )
    add("--causal", action="store_true", help="epoch by epoch, as if the night were going on (needs a causal model)")
    add(
        "--window",
        type=Literal["auto", "lights", "recording", "sleep"],
        default="auto",
        help="what the statistics are over; auto: lights off to on where known, else the recording; sleep: and 30 min around it",
    )
    add("--lights-off", type=str, default="", help="time of day (22:30) or seconds from the start; default: the file's annotation")
    add("--lights-on", type=str, default="", help="likewise")
    add("--review-below", type=float, default=0.6, help="list epochs said with less confidence than this for review")
    add("--persons", type=str, default="", help="table 'NIGHT PERSON', for intervals over persons; default: from the files' names")
    add("--assume-unit", type=str, default="", help="unit of channels that state none: uV, mV, V or nV")
    add("--discontinuous", type=Literal["fill", "refuse"], default="fill", help="EDF+D: leave gaps unscored, or refuse the file")
    add(
        "--precision",
        type=Precision,
        default="auto",
        help="of a neural encoder's matrix products; auto: bf16-mixed where the device multiplies bfloat16 natively",
    )
    add("--figures", type=bool, default=True, help="draw a figure for each night")
    add("--nj", type=int, default=1, help="nights at a time")
    add("--device", type=str, default="cpu", help="where the model computes: cpu, cuda")
    return parser
