"""Whole runs: what they leave, and that interrupting one changes nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import sigssl
from sigssl.errors import UserError
from sigssl.methods import TERA
from sigssl.training.callbacks.watch import Watch
from sigssl.training.pretrain import accumulation, pretrain
from sigssl.training.run import export_encoder, load_method

Sections = Callable[..., dict[str, Any]]
Tera = Callable[[], TERA]
TIMES = {"hours_per_second", "data_wait", "seconds"}


def rows(out: Path) -> list[dict[str, float]]:
    """metrics.jsonl without the times."""
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name not in TIMES} for line in lines]


def state(out: Path, name: str = "last") -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(out / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return loaded


def assert_equal_runs(a: Path, b: Path) -> None:
    """Parameters, optimiser and records are the same bit for bit."""
    one, two = state(a), state(b)
    assert one["global_step"] == two["global_step"]
    for name, value in one["state_dict"].items():
        assert torch.equal(value, two["state_dict"][name]), name
    for key, moments in one["optimizer_states"][0]["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, two["optimizer_states"][0]["state"][key][name]), (key, name)
    assert one["lr_schedulers"] == two["lr_schedulers"] and rows(a) == rows(b)


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, signal.Signals], None]:
    """Send this process a signal at the end of an update, once."""

    def arrange(update: int, number: signal.Signals) -> None:
        plain, sent = Watch.on_train_batch_end, []

        def patched(self: Watch, trainer: Any, *args: Any) -> None:
            if trainer.global_step == update and not sent:
                sent.append(update)
                os.kill(os.getpid(), number)
            plain(self, trainer, *args)

        monkeypatch.setattr(Watch, "on_train_batch_end", patched)

    return arrange


@pytest.fixture
def whole(tmp_path: Path, tera: Tera, sections: Sections, recordings: Path) -> Path:
    """An undisturbed run."""
    pretrain(tera(), **sections(valid=str(recordings)), out=tmp_path / "whole")
    return tmp_path / "whole"


def test_a_run_leaves_what_others_read(whole: Path, tera: Tera) -> None:
    summary = json.loads((whole / "metrics.json").read_text())
    assert summary["finished"] and summary["step"] == 6 and summary["best_valid_loss"] > 0 and summary["hours"] > 0
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 3, 4, 6]
    assert {"loss", "grad_norm", "lr", "label_share", "data_wait", "hours_per_second"} <= set(lines[0])
    assert "valid_loss" in lines[1] and "effective_rank" in lines[2]
    assert json.loads((whole / "run.json").read_text())["passes_per_update"] == 2
    encoder = sigssl.load(whole)
    trained = load_method(whole).encoder.state_dict()
    assert all(torch.equal(value, trained[name]) for name, value in encoder.state_dict().items())
    assert not any(torch.equal(value, trained[name]) for name, value in tera().encoder.state_dict().items() if "weight" in name)
    best = sigssl.load(export_encoder(whole, whole.parent / "best", "best"))
    assert isinstance(best, torch.nn.Module)
    assert not list(whole.rglob("*.tmp*")) and not list(whole.rglob(".*"))


@pytest.mark.parametrize(("update", "number"), [(3, signal.SIGTERM), (4, signal.SIGINT)])
def test_stopping_and_going_on_equals_an_undisturbed_run(
    whole: Path,
    tmp_path: Path,
    tera: Tera,
    sections: Sections,
    recordings: Path,
    stop_after: Any,
    update: int,
    number: signal.Signals,
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    stop_after(update, number)
    out, options = tmp_path / "stopped", sections(valid=str(recordings), workers=1)
    summary = pretrain(tera(), **options, out=out)
    assert summary["stopped_by"] == number.name and summary["step"] == update and not (out / "encoder").exists()
    with pytest.raises(UserError, match="no finished encoder yet"):
        sigssl.load(out)
    assert pretrain(tera(), **options, out=out)["finished"]
    extra = [row["step"] for row in rows(out) if row["step"] not in (2, 3, 4, 6)]
    assert not extra
    one, two = state(whole), state(out)
    assert all(torch.equal(value, two["state_dict"][name]) for name, value in one["state_dict"].items())
    if update == 4:  # a line is written there anyway
        assert_equal_runs(whole, out)
    assert signal.getsignal(signal.SIGTERM) == before


def test_kill_and_rerun_equals_an_undisturbed_run(
    whole: Path, tmp_path: Path, tera: Tera, sections: Sections, recordings: Path
) -> None:
    config = yaml.safe_load((whole / "config.yaml").read_text())
    config["trainer"]["save_every"] = 1
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    out = tmp_path / "killed"
    code = (
        "import time; from sigssl.training.callbacks.keeper import Keeper; from sigssl.cli.main import main\n"
        "save = Keeper.save\n"
        "def slow(self, trainer):\n    save(self, trainer)\n    time.sleep(60 if trainer.global_step == 3 else 0)\n"
        f"Keeper.save = slow; main(['pretrain', '--config', {str(tmp_path / 'c.yaml')!r}, '--out', {str(out)!r}])"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for _ in range(1200):
            time.sleep(0.1)
            if process.poll() is not None or ((out / "checkpoints" / "previous.ckpt").exists() and rows(out)[-1]["step"] >= 3):
                break
    finally:
        process.kill()
    said = process.communicate()[0]
    assert process.returncode == -signal.SIGKILL, said
    (out / "checkpoints" / "last.ckpt").write_bytes(b"half")  # what a kill cannot leave, a failing disk can
    messages: list[str] = []
    assert pretrain(tera(), **sections(valid=str(recordings)), out=out, say=messages.append)["finished"]
    assert "previous.ckpt" in messages[0]
    one, two = state(whole), state(out)
    assert all(torch.equal(value, two["state_dict"][name]) for name, value in one["state_dict"].items())


def test_a_finished_run_is_not_done_again_and_other_settings_are_refused(
    whole: Path, tera: Tera, sections: Sections, recordings: Path
) -> None:
    messages: list[str] = []
    options = sections(valid=str(recordings))
    assert pretrain(tera(), **options, out=whole, say=messages.append)["finished"] and "nothing to do" in messages[0]
    with pytest.raises(UserError, match=r"other settings: optim\.lr: 0\.01, now 0\.02"):
        pretrain(tera(), **sections(valid=str(recordings), lr=0.02), out=whole)
    assert pretrain(tera(), **sections(valid=str(recordings), lr=0.02), out=whole, resume="never")["finished"]
    with pytest.raises(UserError, match="no whole checkpoint"):
        pretrain(tera(), **options, out=whole, resume=str(whole / "metrics.json"))


def test_a_kill_before_the_export_is_made_good(whole: Path, tera: Tera, sections: Sections, recordings: Path) -> None:
    summary = json.loads((whole / "metrics.json").read_text())
    before = (whole / "encoder" / "model.safetensors").read_bytes()
    (whole / "metrics.json").unlink()
    for file in (whole / "encoder").iterdir():
        file.unlink()
    again = pretrain(tera(), **sections(valid=str(recordings)), out=whole)
    assert again == summary and (whole / "encoder" / "model.safetensors").read_bytes() == before


def test_passes_make_up_the_update() -> None:
    from sigssl.training.options import OptimOptions

    assert accumulation(OptimOptions(), 100.0, 4) == (100.0, 1)
    assert accumulation(OptimOptions(seconds_per_update=480.0), 120.0, 1) == (120.0, 4)
    assert accumulation(OptimOptions(seconds_per_update=480.0), 120.0, 8) == (60.0, 1)
    assert accumulation(OptimOptions(seconds_per_update=480.0), 200.0, 2) == (120.0, 2)
