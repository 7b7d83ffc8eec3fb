"""The recognition of egs/librispeech on a tree of LibriSpeech's shape, trained as in SUPERB but briefly."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sigssl.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["HE HOPED", "THERE WOULD BE STEW", "FOR DINNER"]


def plant(root: Path) -> None:
    """Two readers in each subset, a chapter of three utterances each, with speech-like noise."""
    rng = np.random.default_rng(0)
    for number, subset in enumerate(("train-clean-100", "dev-clean", "test-clean")):
        for reader in (10 * number + 1, 10 * number + 2):
            folder = root / "LibriSpeech" / subset / str(reader) / "7"
            folder.mkdir(parents=True)
            for k in range(3):
                soundfile.write(folder / f"{reader}-7-{k:04d}.flac", rng.normal(0, 0.1, 24000 + 4000 * k), 16000)
            lines = [f"{reader}-7-{k:04d} {words}\n" for k, words in enumerate(WORDS)]
            (folder / f"{reader}-7.trans.txt").write_text("".join(lines))


def test_from_the_published_tree_to_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(tmp_path)
    words = [
        "--root",
        str(tmp_path),
        "--data",
        str(tmp_path / "data"),
        "--exp",
        str(tmp_path / "exp"),
        "--nj",
        "1",
        "--arms",
        "logmel",
    ]
    words += ["--arms", "logmel", "--asr-words", "updates=2 validate_every=2 head.hidden=8 head.projection=8"]
    dry = subprocess.run(
        ["bash", "egs/librispeech/run.sh", *words, "--dry-run"],
        cwd=ROOT,
        env={**os.environ, "SIGSSL_ENV": "current", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    stages = dict(re.findall(r"^# stage \d+: (\S+)\n(.*)$", dry.stdout, flags=re.MULTILINE))
    ours = ["prepare", "lm", *(name for name in stages if re.search("-logmel-1", name))]
    assert len(ours) == 7, stages
    for name in ours:  # here, for a process of its own takes seconds
        assert main(shlex.split(stages[name])[1:]) == 0, name
    capsys.readouterr()
    metrics = json.loads((tmp_path / "exp" / "score" / "logmel-1-decode_lm" / "metrics.json").read_text())
    assert (metrics["arm"], metrics["utterances"], metrics["speakers"]) == ("log-mel", 6, 2)
    assert metrics["settings"]["lm"].endswith("lm.arpa") and metrics["wer"]["total"] == 16
    run = json.loads((tmp_path / "exp" / "asr" / "logmel-1" / "metrics.json").read_text())
    assert run["head"] == "blstm" and run["utterances"] == {"train": 6, "dev": 6}
