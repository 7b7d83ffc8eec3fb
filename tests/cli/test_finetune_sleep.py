"""finetune sleep and score sleep through the real parser, on small nights; every shipped configuration."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "downstream"))
from sleep_toys import toy_nights, write_folder

from sigssl.cli.common import parse
from sigssl.cli.finetune_sleep import make
from sigssl.cli.main import main
from sigssl.downstream.stager import load_stager, stager_meta

CONF = Path(__file__).parents[2] / "recipes" / "conf" / "sleep"
HEADS = '[{"kind": "bimamba", "dim": 8, "layers": 1, "lrs": [0.01]}, {"kind": "bigru", "dim": 8, "layers": 1, "residual": false}]'
SMALL = ["--folds", "3", "--passes", "2", "--window", "20", "--bootstrap", "50", "--heads", HEADS]


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_configurations_parse(path: Path) -> None:
    words = parse(make(), ["--config", str(path), "--data", "x", "--out", "y"])
    assert words.heads and all(head.lrs for head in words.heads)


def test_compare_keep_and_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = write_folder(tmp_path / "nights", toy_nights(9, epochs=40)), tmp_path / "exp"
    words = ["finetune", "sleep", "--data", str(root), "--out", str(out), *SMALL, "--night", "true", "--logistic", "2"]
    assert main([*words, "--final", "bimamba"]) == 0
    said = capsys.readouterr().out
    assert "bimamba, seed 0, fold 3" in said and "logistic regression, ±2 epochs" in said
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["kind"] == "sleep" and [row["arm"] for row in metrics["arms"]][:2] == ["bimamba", "bigru"]
    assert metrics["protocol"]["test_nights"] == 9 and metrics["protocol"]["unscored"] == 9
    split = json.loads((out / "split.json").read_text())
    assert split["sha256"] == metrics["protocol"]["split_sha256"]
    for name in ("table.md", "confusion.png", "subjects.png", "reliability.png", "predictions.npz"):
        assert (out / name).stat().st_size > 0
    with np.load(out / "predictions.npz") as kept:
        assert len(kept.files) == 9 and kept["SC001"].shape == (40, 5)
    meta = stager_meta(out)
    assert sorted(meta["subjects"]["train"] + meta["subjects"]["validation"]) == [f"SC{i:02d}" for i in range(9)]
    assert meta["split_hash"] == split["sha256"] and meta["cross_validation"]["kappa"] == metrics["arms"][0]["kappa"]
    assert load_stager(out).front.features.night

    assert main(words) == 0  # again: single runs are read, not repeated
    assert json.loads((out / "metrics.json").read_text())["arms"][0]["runs"] == metrics["arms"][0]["runs"]
    fresh = write_folder(tmp_path / "fresh", [*toy_nights(9, epochs=40)[:2], *renamed(toy_nights(3, epochs=30, seed=5))])
    assert (
        main(["score", "sleep", "--model", str(out), "--root", str(fresh), "--out", str(tmp_path / "score"), "--bootstrap", "50"])
        == 0
    )
    assert "seen in training" in capsys.readouterr().out
    result = json.loads((tmp_path / "score" / "metrics.json").read_text())
    assert result["nights_count"] == 5 and len(result["subjects_seen_in_training"]) == 2
    assert result["unseen"]["subjects_count"] == 3 and set(result["pooled"]) >= {"accuracy", "macro_f1", "kappa", "mcc", "ece"}


def renamed(nights: list) -> list:
    from dataclasses import replace

    return [replace(night, id=f"X{night.id}", subject=f"X{night.subject}") for night in nights]


def test_wrong_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["finetune", "sleeep"]) == 2 and "Did you mean 'sleep'" in capsys.readouterr().err
    assert main(["finetune", "sleep", "--data", "x", "--out", "y", "--model", "m"]) == 2
    assert "--model and --store go together" in capsys.readouterr().err
    assert main(["finetune", "sleep", "--data", "x", "--out", "y", "--final", "gru"]) == 2
    assert "no such head" in capsys.readouterr().err
    assert main(["score", "sleep", "--model", "nowhere", "--root", "x", "--out", str(tmp_path)]) == 2
    assert "shipped" in capsys.readouterr().err
