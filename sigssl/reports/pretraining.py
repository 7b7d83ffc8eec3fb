"""What pretraining runs left: a table, curves, and one utterance altered and reconstructed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sigssl.data.io import read_json
from sigssl.errors import UserError
from sigssl.reports.style import COLOURS, GREY, figure, grid
from sigssl.reports.tables import markdown


@dataclass(frozen=True)
class Run:
    """A pretraining run.

    Attributes:
        name: its folder, as seen from the folder of the report's subject.
        folder: where it is.
        rows: the lines of metrics.jsonl.
        summary: metrics.json; empty where the run has not finished.
        facts: run.json; empty where absent.
        config: config.yaml; empty where absent.
    """

    name: str
    folder: Path
    rows: list[dict[str, Any]]
    summary: dict[str, Any]
    facts: dict[str, Any]
    config: dict[str, Any]

    def curve(self, key: str) -> tuple[list[float], list[float]]:
        """Updates and values of one measurement, where it was made."""
        points = [(float(row["step"]), float(row[key])) for row in self.rows if row.get(key) is not None]
        return [step for step, _ in points], [value for _, value in points]


def read_run(folder: Path, name: str) -> Run:
    """Read a run folder; what it lacks is left empty.

    Raises:
        UserError: metrics.jsonl holds a line that is no JSON; the line is named. (A last line that a kill cut off is passed over.)
    """
    import yaml

    rows = []
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise UserError(f"{folder / 'metrics.jsonl'}:{number}: is no JSON ({error}).") from error
    summary, facts = (read_json(folder / file) if (folder / file).is_file() else {} for file in ("metrics.json", "run.json"))
    config = folder / "config.yaml"
    settings = yaml.safe_load(config.read_text(encoding="utf-8")) if config.is_file() else {}
    return Run(name, folder, rows, summary, facts, settings)


def table(runs: list[Run]) -> str:
    """One line for each run."""
    header = ["run", "method", "parameters", "data (hours)", "updates", "signal seen (hours)", "loss", "validation loss"]
    header += ["effective rank", "precision", "device"]
    return markdown(header, [_line(run) for run in runs], words=2)


def draw_curves(runs: list[Run], path: Path) -> bool:
    """Loss and, where it was measured, the effective rank of the states, against updates; nothing where there is no loss."""
    runs = [run for run in runs if len(run.curve("loss")[0]) > 1][: len(COLOURS)]
    if not runs:
        return False
    ranks = any(len(run.curve("effective_rank")[0]) > 1 for run in runs)
    with figure(path, 8.6 if ranks else 5.2, 3.1, ncols=1 + ranks, squeeze=False) as panels:
        left = panels[0][0]
        for number, run in enumerate(runs):
            alone = len(runs) == 1
            left.plot(*run.curve("loss"), color=COLOURS[number], lw=1.6, label="training" if alone else run.name)
            look: dict[str, Any] = {"color": COLOURS[number + alone], "lw": 1.2, "ls": "--", "marker": "o", "ms": 3}
            if run.curve("valid_loss")[0]:
                left.plot(*run.curve("valid_loss"), label="validation" if alone else None, **look)
        left.set(xlabel="update", ylabel=f"loss ({_loss_name(runs[0])})")
        left.set_title("Loss" if len(runs) == 1 else "Loss (dashed: validation)")
        left.legend()
        grid(left)
        if ranks:
            right = panels[0][1]
            for number, run in enumerate(runs):
                right.plot(*run.curve("effective_rank"), color=COLOURS[number], lw=1.6, marker="o", ms=3)
            right.axhline(1, color=GREY, ls="--", lw=1)
            right.set(xlabel="update", ylabel="effective rank", title="Last layer's states (1: collapsed)", ylim=(0, None))
            grid(right)
    return True


def _line(run: Run) -> list[str]:
    last = {**(run.rows[-1] if run.rows else {}), **run.summary}
    data = run.facts.get("data", {})

    def number(value: Any, form: str) -> str:
        return "–" if value is None else format(value, form)

    done = number(last.get("step"), ",d") + ("" if run.summary.get("finished", True) and run.summary else " (unfinished)")
    valid = last.get("best_valid_loss", last.get("valid_loss"))
    return [
        run.name,
        str(run.config.get("method", {}).get("class_path", "–")).rpartition(".")[2],
        number(run.facts.get("parameters", last.get("parameters")), ",d"),
        number(data.get("hours"), ".2f"),
        done,
        number(last.get("hours"), ".1f"),
        number(last.get("loss"), ".4f"),
        number(valid, ".4f"),
        number(last.get("effective_rank"), ".1f"),
        str(run.facts.get("precision", "–")),
        str(run.facts.get("device", "–")),
    ]


def _loss_name(run: Run) -> str:
    arguments = run.config.get("method", {}).get("init_args", {})
    return {"l1": "mean absolute error", "mse": "mean squared error"}.get(str(arguments.get("loss")), "mean")
