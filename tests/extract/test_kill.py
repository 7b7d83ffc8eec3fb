"""Kill -9 in the middle of features and embeddings: the rerun ends equal to the undisturbed run, no worker outlives the kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sigssl.cli.main import main

CONFIG = """
features:
  class_path: sigssl.features.LogMel
  init_args: {n_mels: 20}
"""


def alive(group: int) -> bool:
    """Whether any process of a group is left (a zombie that waits for its parent is not)."""
    told = subprocess.run(["ps", "-o", "stat=", "-g", str(group)], capture_output=True, text=True).stdout.split()
    return any(not state.startswith("Z") for state in told)


def wait_until(what: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def kill_in_the_middle(words: list[str], out: Path) -> None:
    """Run a verb in a process of its own and kill it once it has some shards done and others begun."""
    journal = out / "journal.jsonl"
    process = subprocess.Popen([sys.executable, "-m", "sigssl", *words], start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: journal.exists() and journal.read_bytes().count(b"\n") > 3, 120)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        wait_until(lambda: not alive(process.pid), 20)
    finally:
        if alive(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
    assert journal.read_bytes().count(b"\n") < 50, "it was too fast: nothing was left to do"


def test_features(corpus: Callable[..., Path], tmp_path: Path, contents: Callable[[Path], dict[str, bytes]]) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG)
    words = ["features", "--config", str(tmp_path / "c.yaml"), str(corpus(120)), "--nj", "2", "--quiet"]
    out = tmp_path / "killed"
    kill_in_the_middle([*words, str(out)], out)
    assert not (out / "feats.scp").exists()
    (out / ".tmp-0-feats.9.ark").write_bytes(b"left by another kill")
    kept = {path: path.stat().st_mtime_ns for path in out.glob("feats.1.ark")}
    words[words.index("--nj") + 1] = "1"
    assert main([*words, str(out)]) == 0
    assert kept == {path: path.stat().st_mtime_ns for path in kept}, "what was done was done again"
    assert main([*words, str(tmp_path / "undisturbed")]) == 0
    assert contents(out) == contents(tmp_path / "undisturbed")


@pytest.mark.parametrize("format", [["ark", "--layer=all"], ["npy", "--pool=mean"]])
def test_embed(
    corpus: Callable[..., Path], model: Path, tmp_path: Path, contents: Callable[[Path], dict[str, bytes]], format: list[str]
) -> None:
    words = ["embed", "--model", str(model), str(corpus(120)), "--device=cpu", "--nj=1", "--quiet", "--format", *format]
    out = tmp_path / "killed"
    kill_in_the_middle([*words, str(out)], out)
    assert not (out / "emb.json").exists()
    assert main([*words, str(out)]) == 0
    assert main([*words, str(tmp_path / "undisturbed")]) == 0
    assert contents(out) == contents(tmp_path / "undisturbed")
