"""finetune sleep over a NeuroNet, from EDF nights to a stager that stages an EDF: as the recipes run it, in small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sigssl.cli.main import main
from sigssl.config import build
from sigssl.data.datadir import DataDir
from sigssl.data.montage import Montage
from sigssl.downstream.sleep_settings import SleepSettings
from sigssl.downstream.sleep_sources import EncoderSource
from sigssl.downstream.stager import load_stager, stager_meta
from sigssl.training.checkpoint import load_encoder, save_encoder

TINY = {"frame_seconds": 6.0, "hop_seconds": 6.0, "widths": [4, 4, 4, 4], "token_dim": 8, "dim": 8, "heads": 2, "depth": 2}
HEADS = '[{"kind": "mamba", "dim": 8, "layers": 1, "lrs": [0.01]}, {"kind": "none", "dim": 8, "layers": 1, "lrs": [0.01]}]'
SMALL = [
    "--folds",
    "3",
    "--validation",
    "0.5",
    "--passes",
    "2",
    "--window",
    "10",
    "--batch",
    "2",
    "--bootstrap",
    "20",
    "--heads",
    HEADS,
]


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people's short nights, their store, and an encoder with drawn weights."""
    folder = tmp_path_factory.mktemp("nights")
    assert (
        main(["prepare", "synthetic_psg", str(folder / "data"), "--nights", "4", "--subjects", "4", "--hours", "0.5", "--nj", "1"])
        == 0
    )
    store = ["features", "--config", "recipes/conf/features/eeg.yaml", str(folder / "data" / "all"), str(folder / "store")]
    assert main([*store, "--data-out", str(folder / "stored"), "--nj", "1", "signal.channels=[Fpz-Cz]", "signal.highpass=0.5"]) == 0
    torch.manual_seed(0)
    encoder = build({"class_path": "sigssl.methods.NeuroNetEncoder", "init_args": TINY})
    save_encoder(folder / "encoder", encoder, {"data": {"train": "elsewhere", "speakers": ["another"]}})
    return folder


def finetune(nights: Path, out: Path, *words: str) -> int:
    about = ["--data", str(nights / "stored"), "--store", str(nights / "store"), "--model", str(nights / "encoder")]
    return main(["finetune", "sleep", *about, "--out", str(out), *SMALL, *words])


def test_new_weights_are_not_centred(nights: Path) -> None:
    """They move too far within a pass for its mean to hold."""
    about = (str(nights / "encoder"), DataDir.read(nights / "stored"), nights / "store", None)
    settings = SleepSettings(center="night", tune="full")
    assert [EncoderSource(*about, settings, untrained=new).center for new in (False, True)] == ["night", "none"]


@pytest.mark.parametrize("tune", ["frozen", "last_block", "full"])
def test_from_nights_to_a_stager(nights: Path, tmp_path: Path, tune: str) -> None:
    compare = ["--scratch", "true"] if tune == "frozen" else ["--compare", "false"]
    center = {"frozen": "past", "last_block": "none", "full": "night"}[tune]
    assert finetune(nights, tmp_path / "exp", "--tune", tune, "--center", center, "--final", "mamba", *compare) == 0
    assert load_stager(tmp_path / "exp").front.center == center
    if tune == "frozen":
        metrics = json.loads((tmp_path / "exp" / "metrics.json").read_text())
        assert len(metrics["arms"]) == 4 and len(metrics["notes"]) == 1  # the scratch arm has no pretraining to tell of
    before, after = load_encoder(nights / "encoder").state_dict(), load_stager(tmp_path / "exp").front.encoder.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert bool(moved) is (tune != "frozen")
    assert tune != "last_block" or all("resnet" not in name and "frame" not in name for name in moved), moved
    meta = stager_meta(tmp_path / "exp")
    assert (
        meta["highpass"] == 0.5
        and meta["lowpass"] == 35.0
        and meta["montage"] == Montage.read("sleep_edf").select(["Fpz-Cz"]).channels
    )
    (night, *_) = sorted((nights / "data" / "sleep-cassette").glob("*PSG.edf"))
    staged = ["stage", str(night), "--model", str(tmp_path / "exp"), "--out", str(tmp_path / "staged"), "--figures", "false"]
    assert main([*staged, "--causal"]) == 0
    lines = next((tmp_path / "staged").rglob("hypnogram.csv")).read_text().splitlines()
    assert len(lines) - 1 == 60


def test_a_person_of_the_pretraining_is_not_tested(nights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people = [line.split()[1] for line in (nights / "stored" / "utt2spk").read_text().splitlines()]
    save_encoder(nights / "leaky", load_encoder(nights / "encoder"), {"data": {"train": "x", "speakers": people[:1]}})
    words = ["--data", str(nights / "stored"), "--store", str(nights / "store"), "--model", str(nights / "leaky")]
    assert main(["finetune", "sleep", *words, "--out", str(tmp_path / "exp"), *SMALL]) == 2
    assert people[0] in capsys.readouterr().err
