"""metrics.jsonl: a line of numbers per logged update, continued by a resumed run as if nothing had happened."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sigssl.data.io import write_text


class Record:
    """The lines of one run.

    Args:
        path: the file.
        say: told of every line, for people.
    """

    def __init__(self, path: Path, say: Callable[[str], None] = lambda line: None) -> None:
        self.path, self.say = path, say

    def keep_until(self, update: int) -> None:
        """Drop what lies behind an update, or is half a line: a run goes on from there; nothing is kept at update 0."""
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines() if update and self.path.exists() else []:
            try:
                if json.loads(line)["update"] <= update:
                    kept.append(line)
            except (ValueError, KeyError):
                continue
        write_text(self.path, "".join(f"{line}\n" for line in kept))

    def add(self, values: dict[str, Any]) -> None:
        """Append a line; rates are written with six digits, and said with fewer; what is not finite becomes null."""
        rounded = {name: _rounded(value) if isinstance(value, float) else value for name, value in values.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rounded) + "\n")
        self.say("  ".join(f"{name} {_short(value)}" for name, value in rounded.items()))

    def lines(self) -> list[dict[str, Any]]:
        """All of them."""
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
