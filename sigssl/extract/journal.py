"""The record of an output folder: with which settings and input it was begun, and which shards are done.

A file of JSON lines, appended to by the one process that runs the shards; the line that a kill cut short is dropped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sigssl.data.io import write_text
from sigssl.errors import UserError
from sigssl.extract.shards import Outcome, Shard, size

VERSION = 1


class Journal:
    """Outcomes of shards, kept on disk.

    Args:
        path: the journal's file, in the output folder.
        settings: everything that decides what the results are, plain values; must equal those of the run that began the folder.
        source: what identifies the input (its name, the number of utterances, a digest of their list).
        overwrite: start anew where the folder was begun otherwise.

    Raises:
        UserError: the folder was begun with other settings or other input; each difference is named.
    """

    def __init__(self, path: Path, settings: dict[str, Any], source: dict[str, Any], *, overwrite: bool = False) -> None:
        self.path = path
        self.done: dict[int, Outcome] = {}
        head = {"version": VERSION, "settings": json.loads(json.dumps(settings)), "input": source}
        lines = _complete_lines(path)
        if lines and not overwrite:
            self._check(head, json.loads(lines[0]))
            self.done = {outcome.shard: outcome for outcome in _outcomes(lines)}
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = "".join(_line(self.done[number].as_json()) for number in sorted(self.done))
        write_text(path, _line(head) + kept)

    def _check(self, mine: dict[str, Any], theirs: dict[str, Any]) -> None:
        differences = [
            f"  {name}: {there!r} there, {here!r} now"
            for name, there, here in _differences(theirs, mine)
            if name != "input.name"  # the same list under another path is the same input
        ]
        if differences:
            raise UserError(
                f"{self.path.parent}: was begun with other settings or input:\n" + "\n".join(differences) + "\n"
                "Name another output folder, or start it anew with --overwrite."
            )

    def add(self, outcome: Outcome) -> None:
        """Record a finished shard."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(outcome.as_json()))
        self.done[outcome.shard] = outcome

    def is_done(self, shard: Shard) -> bool:
        """Whether the shard was extracted from files of the same sizes, and what it wrote is still there."""
        outcome = self.done.get(shard.number)
        if outcome is None or outcome.key != shard.key:
            return False
        return all(size(self.path.parent / name) == there for name, there in outcome.files.items())


def read_outcomes(path: Path) -> list[Outcome]:
    """The outcomes in a journal, in the order in which they were added; a shard done again is in it again."""
    return _outcomes(_complete_lines(path))


def _outcomes(lines: list[str]) -> list[Outcome]:
    return [Outcome.from_json(json.loads(line)) for line in lines[1:]]


def _line(plain: dict[str, Any]) -> str:
    return json.dumps(plain, ensure_ascii=False) + "\n"


def _complete_lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    return text[: text.rfind("\n") + 1].split("\n")[:-1]  # not splitlines: an id may hold U+2028


def _differences(there: Any, here: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """The leaves in which two nests of dicts differ, as (dotted name, there, here)."""
    if isinstance(there, dict) and isinstance(here, dict):
        pairs = [(key, there.get(key), here.get(key)) for key in dict.fromkeys([*there, *here])]
        return [d for key, t, h in pairs for d in _differences(t, h, f"{name}.{key}".lstrip("."))]
    return [] if there == here else [(name, there, here)]
