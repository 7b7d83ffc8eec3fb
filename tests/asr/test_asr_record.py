"""The lines of metrics.jsonl of a recogniser's training."""

from __future__ import annotations

import json
from pathlib import Path

from sigssl.asr.record import Record


def test_what_is_not_finite_becomes_null_and_a_resumed_run_goes_on_behind_its_checkpoint(tmp_path: Path) -> None:
    def strict(text: str) -> object:
        raise AssertionError(f"{text} is no JSON")

    record = Record(tmp_path / "metrics.jsonl")
    for update, norm in ((1, 0.123456789), (2, float("inf")), (3, float("nan"))):
        record.add({"update": update, "grad_norm": norm})
    lines = [json.loads(line, parse_constant=strict) for line in record.path.read_text().splitlines()]
    assert lines == [{"update": 1, "grad_norm": 0.123457}, {"update": 2, "grad_norm": None}, {"update": 3, "grad_norm": None}]
    with record.path.open("a") as file:
        file.write('{"update": 4, "gra')  # a kill
    Record(record.path).keep_until(2)
    assert record.lines() == lines[:2]
