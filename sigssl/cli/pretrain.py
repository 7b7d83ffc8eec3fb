"""`sigssl pretrain`: train an encoder without labels."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from sigssl.cli.common import instantiate, make_parser, parse
from sigssl.errors import UserError

EXAMPLE = "sigssl pretrain --config recipes/conf/tera/base.yaml data.train=data/train data.valid=data/dev out=exp/tera"


def parser() -> ArgumentParser:
    """The verb's parser; the shipped configurations are tested with it."""
    from sigssl.methods.base import Method
    from sigssl.training.options import DataOptions, OptimOptions, TrainerOptions

    made = make_parser(
        "pretrain",
        "Pretrain an encoder without labels. The run folder gets config.yaml, metrics.jsonl, metrics.json, checkpoints/ and "
        "encoder/, which sigssl.load reads. The same command goes on with a run that was stopped.",
        EXAMPLE,
    )
    made.add_argument(
        "--config", action="config", help="YAML with the sections method, data, optim, trainer; key=value overrides it"
    )
    made.add_argument("--out", type=str, required=True, help="run folder")
    made.add_argument(
        "--resume", type=str, default="auto", help="auto: go on where the run in --out stopped; never: start anew; or a checkpoint"
    )
    made.add_argument("--tiny", action="store_true", help="take tiny.yaml beside --config in its place: a trial of under a minute")
    made.add_subclass_arguments(Method, "method", required=True, help="what is trained")
    made.add_class_arguments(DataOptions, "data")
    made.add_class_arguments(OptimOptions, "optim")
    made.add_class_arguments(TrainerOptions, "trainer")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the verb; exit codes as in :mod:`sigssl.cli.main`, and 128 + number where a signal stopped it."""
    verb = parser()
    config = parse(verb, tiny(argv))
    import torch

    torch.manual_seed(config.trainer.seed)
    made = instantiate(verb, config)
    from sigssl.training.pretrain import pretrain

    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("sigssl").setLevel(logging.INFO)
    summary = pretrain(made.method, made.data, made.optim, made.trainer, made.out, made.resume, say=print)
    if "stopped_by" in summary:
        return 128 + signal.Signals[summary["stopped_by"]]
    return 1 if summary.get("quarantined") else 0


def tiny(argv: Sequence[str]) -> list[str]:
    """With --tiny, the tiny.yaml beside each --config in its place.

    Raises:
        UserError: there is none.
    """
    words = list(argv)
    if "--tiny" not in words:
        return words
    for at, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option != "--config":
            continue
        place = at if equals else at + 1
        given = Path(value if equals else words[place] if place < len(words) else "")
        beside = given.with_name("tiny.yaml")
        if not beside.is_file():
            raise UserError(f"--tiny: there is no {beside} beside {given}.")
        words[place] = f"{option}={beside}" if equals else str(beside)
    return words
