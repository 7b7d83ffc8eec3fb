"""egs/mini end to end in tiny size: from nothing to a report, and a second run that has nothing to do."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("espeakng_loader", reason="the extra demo (espeakng-loader) is not installed")
ROOT = Path(__file__).resolve().parents[2]


def mini(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    tiny = ["--size", "tiny", "--conf", "tests/recipes/conf/tera.yaml", "--probe-conf", "tests/recipes/conf/frame.yaml"]
    tiny += ["--hours", "0.06", "--speakers", "8", "--nj", "1", "--night-hours", "1", "--night-updates", "10"]
    tiny += ["--numbers", "0.04", "--arms", "frozen", "--fractions", "1", "--asr-words", "updates=12 thaw_after=4 validate_every=6"]
    return subprocess.run(
        ["bash", "egs/mini/run.sh", *tiny, "--data", str(folder / "data"), "--exp", str(folder / "exp"), *words],
        cwd=ROOT,
        env={**os.environ, "SIGSSL_ENV": "current", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=900,
    )


def test_from_nothing_to_a_report(tmp_path: Path) -> None:
    first = mini(tmp_path)
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
    exp = tmp_path / "exp"
    report = (exp / "report" / "REPORT.md").read_text(encoding="utf-8")
    assert "## Speech recognition" in report and "| 100 | TERA frozen |" in report
    assert "untrained" in report and "log-mel" in report.lower()
    assert len(list((exp / "report").rglob("*.png"))) >= 2
    metrics = json.loads((exp / "tera" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["finished"] and metrics["loss"] < 1.0
    assert (exp / "embeddings" / "emb.scp").read_text(encoding="utf-8").count("\n") == len(
        (tmp_path / "data" / "test" / "wav.scp").read_text(encoding="utf-8").splitlines()
    )
    again = mini(tmp_path)
    assert again.returncode == 0
    assert again.stdout.count("done before") == first.stdout.count("== stage")
