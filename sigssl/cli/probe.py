"""`sigssl probe`: train probes on frozen states beside their baselines."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from sigssl.cli.common import make_parser, parse
from sigssl.downstream.settings import ProbeSettings
from sigssl.errors import UserError

EXAMPLE = "sigssl probe --config recipes/conf/probe/utterance.yaml --model exp/tera --data data/all --folds loso --out exp/probe"


def make() -> ArgumentParser:
    """The verb's parser."""
    parser = make_parser(
        "probe",
        "Train probes on the frozen states of encoders, beside baselines; choose on validation data only, test once. "
        "Give --train, --test and if possible --dev, or --data with --folds.",
        EXAMPLE,
    )
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file with settings.")
    parser.add_argument(
        "--model", nargs="*", type=str, default=[], help="Runs, encoders, hf:ORG/NAME ...; {fold} stands for the fold's name."
    )
    parser.add_argument("--train", type=str | None, default=None, help="Data directory to train on.")
    parser.add_argument("--dev", type=str | None, default=None, help="Data directory to select on; else a part of train.")
    parser.add_argument("--test", type=str | None, default=None, help="Data directory to test on, once.")
    parser.add_argument("--data", type=str | None, default=None, help="Data directory for cross-validation.")
    parser.add_argument("--folds", type=str | int, default="loso", help="With --data: loso (leave one speaker out) or a number.")
    parser.add_argument(
        "--store", type=str | None, default=None, help="Folder of stored signals (EEG) to probe in place of the recordings."
    )
    parser.add_argument("--out", type=str, required=True, help="Folder for metrics.json, table.md, predictions.tsv, figures.")
    parser.add_argument("--device", type=str, default="auto", help="Where encoders run: auto, cpu, cuda, cuda:1 ...")
    parser.add_class_arguments(ProbeSettings, nested_key=None)
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the verb; exit code 0."""
    words = parse(make(), argv)
    settings = ProbeSettings(**{name: words[name] for name in ProbeSettings.__dataclass_fields__})
    places = _places(words)
    out = Path(words.out)

    from sigssl.data.datadir import DataDir
    from sigssl.data.io import write_json, write_text
    from sigssl.downstream.arms import make_arms, on_store
    from sigssl.downstream.probe import run
    from sigssl.downstream.problem import read_problem
    from sigssl.downstream.stored import Store
    from sigssl.downstream.summary import predictions, summarise
    from sigssl.reports.probe import draw, probe_page
    from sigssl.reports.tables import results

    parts = {part: DataDir.read(place) for part, place in places.items()}
    problem = read_problem(parts, settings, str(words.folds) if "all" in parts else "")
    arms = make_arms(words.model, settings)
    if words.store is not None:
        if settings.level != "utterance":
            raise UserError("--store is for utterances (windows of EEG) as a whole: level utterance.")
        problem, arms = replace(problem, store=Store(Path(words.store))), on_store(arms)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".states.", dir=out) as scratch:
        outcome = run(problem, arms, settings, Path(scratch), words.device, say=lambda line: print(line, flush=True))
    metrics: dict[str, Any] = {**summarise(outcome, settings), "data": places, "models": words.model}
    write_text(out / "predictions.tsv", "".join(line + "\n" for line in predictions(outcome)))
    draw(metrics, out)
    write_text(out / "table.md", probe_page(metrics, present=out))
    write_json(out / "metrics.json", metrics)
    print(f"\n{results(metrics)}\n{out}/table.md, metrics.json, predictions.tsv and figures are written.")
    return 0


def _places(words: Namespace) -> dict[str, str]:
    """Part -> data directory; UserError where the combination makes no sense."""
    given = {part: words[part] for part in ("train", "dev", "test") if words[part] is not None}
    if words.data is not None and given:
        raise UserError(f"--data (cross-validation) and --{', --'.join(given)} exclude one another: give one or the other.")
    if words.data is not None:
        return {"all": words.data}
    missing = [part for part in ("train", "test") if part not in given]
    if missing:
        raise UserError(f"--{' and --'.join(missing)} missing: give --train, --test (and --dev), or --data with --folds.")
    return given
