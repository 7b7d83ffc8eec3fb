"""`sigssl score sleep`: evaluate a stager on a folder laid out as sleepedf_bandpower_sc153."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sigssl.cli.common import make_parser, parse

EXAMPLE = "sigssl score sleep --model sleep_bandpower --root data/sleepedf_bandpower_sc153 --out exp/score"


def main(argv: Sequence[str]) -> int:
    """Run the verb; exit code 0."""
    parser = make_parser(
        "score sleep",
        "Stage every night of a folder of feature nights (records.csv with columns path, record, subject; npz files with features "
        "and labels) and score it against its labels: pooled, per recording, with intervals over subjects.",
        EXAMPLE,
    )
    parser.add_argument("--model", type=str, required=True, help="A stager's folder, or a shipped one: sleep_bandpower.")
    parser.add_argument("--root", type=str, required=True, help="Folder with records.csv and the files it names.")
    parser.add_argument("--out", type=str, required=True, help="Folder for metrics.json, table.md, predictions.npz and figures.")
    parser.add_argument("--bootstrap", type=int, default=2000, help="Resamples of the subjects for the 95 % intervals.")
    words = parse(parser, argv)

    from sigssl.downstream.sleep_evaluate import evaluate
    from sigssl.reports.sleep import score_page, write_score

    result, staged = evaluate(words.model, Path(words.root), words.bootstrap)
    write_score(result, staged, Path(words.out))
    print(f"{score_page(result)}\n{words.out}/metrics.json, table.md, predictions.npz and figures are written.")
    return 0
