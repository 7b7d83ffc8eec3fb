"""Where measurements go: one JSON object per line in metrics.jsonl, and TensorBoard where it is installed."""

from __future__ import annotations

import json
import math
from pathlib import Path

from sigssl.data.io import write_text
from sigssl.optional import available

Row = dict[str, float]


class MetricsFile:
    """Append rows to a file of JSON lines; what is not finite becomes null.

    Args:
        path: metrics.jsonl of a run.
        step: where the run goes on: lines behind it, left by a run that was killed after its last checkpoint, are dropped.
    """

    def __init__(self, path: Path, step: int) -> None:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        write_text(path, "".join(f"{line}\n" for line in lines if _step(line) <= step))
        self.path = path

    def write(self, row: Row) -> None:
        """Append a row; it is in the file when this returns."""
        clean = {"step": int(row["step"])} | {k: v if math.isfinite(v) else None for k, v in row.items() if k != "step"}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean) + "\n")

    def close(self) -> None:
        """Nothing is open."""


class TensorBoard:
    """Write rows as TensorBoard events.

    Args:
        folder: for the event files.
        step: where the run goes on; events behind it are hidden.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, row: Row) -> None:
        """Add every number of a row."""
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(row["step"]))

    def close(self) -> None:
        """Close the writer."""
        self._writer.close()


Sink = MetricsFile | TensorBoard


def sinks(out: Path, step: int) -> list[Sink]:
    """What a run in `out` writes to, going on behind `step`."""
    made: list[Sink] = [MetricsFile(out / "metrics.jsonl", step)]
    if available("tensorboard"):
        made.append(TensorBoard(out / "tensorboard", step))
    return made


def _step(line: str) -> float:
    """The step of a line; beyond all where a kill has left half of one."""
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return math.inf
