"""`sigssl finetune sleep`: sequence heads on feature nights, or over an encoder, compared over subject-wise folds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ActionConfigFile, ArgumentParser

from sigssl.cli.common import instantiate, make_parser, parse
from sigssl.downstream.sleep_settings import HeadSettings, SleepSettings
from sigssl.errors import UserError

EXAMPLE = "sigssl finetune sleep --config recipes/conf/sleep/bandpower.yaml --data data/sleepedf_bandpower_sc153 --out exp/sleep"


def make() -> ArgumentParser:
    """The verb's parser."""
    parser = make_parser(
        "finetune sleep",
        "Train sequence heads that stage sleep, compare them over subject-wise folds (pass, learning rate and temperature are "
        "chosen on validation subjects, test subjects are staged once), and keep one for use. On a folder of feature nights, "
        "or with --model and --store over an encoder's embeddings of a data directory.",
        EXAMPLE,
    )
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file with settings.")
    parser.add_argument("--data", type=str, required=True, help="Folder of feature nights, or data directory of nights.")
    parser.add_argument("--out", type=str, required=True, help="Folder for metrics.json, table.md, figures, stager/.")
    parser.add_argument("--model", type=str | None, default=None, help="Encoder or run; {fold} stands for the fold's name.")
    parser.add_argument("--store", type=str | None, default=None, help="With --model: folder of the nights' stored signals.")
    parser.add_argument("--channels", type=list[str] | None, default=None, help="With --model: stored channels to take, in order.")
    parser.add_argument("--final", type=str | None, default=None, help="Name of the head that is kept, trained on all subjects.")
    parser.add_argument("--card", type=str | None, default=None, help="Markdown file that becomes the stager's model card.")
    parser.add_argument("--compare", type=bool, default=True, help="Whether to cross-validate; false: only train --final.")
    parser.add_argument("--heads", type=list[HeadSettings], default=[HeadSettings()], help="Heads that are compared.")
    parser.add_argument("--quiet", type=bool, default=False, help="Say less.")
    parser.add_class_arguments(SleepSettings, nested_key=None)
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the verb; exit code 0."""
    parser = make()
    words = parse(parser, argv)
    settings = SleepSettings(**{name: words[name] for name in SleepSettings.__dataclass_fields__})
    heads: list[HeadSettings] = instantiate(parser, words).heads
    if (words.model is None) != (words.store is None):
        raise UserError("--model and --store go together: the encoder, and the nights' signals that it sees.")
    if words.final is not None and words.final not in [head.name or head.kind for head in heads]:
        raise UserError(f"--final {words.final}: no such head; there are {', '.join(head.name or head.kind for head in heads)}.")

    from sigssl.downstream.sleep_run import Job, run

    job = Job(
        data=words.data, out=Path(words.out), heads=heads, settings=settings, model=words.model, store=words.store,
        channels=words.channels, final=words.final, card=words.card, compare=words.compare,
    )  # fmt: skip
    ran = run(job, (lambda line: None) if words.quiet else lambda line: print(line, flush=True))
    if ran.metrics is not None:
        from sigssl.reports.sleep import comparison_page, write_comparison

        write_comparison(ran.metrics, ran.staged, job.out)
        print(f"\n{comparison_page(ran.metrics)}\n{job.out}/metrics.json, table.md, split.json and figures are written.")
    if ran.stager is not None:
        print(f"{ran.stager}: the stager for use, by sigssl stage --model and sigssl score sleep --model.")
    return 0
