"""Encoders on disk: exact round trips, strictness, and refusal of what is damaged or not ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn

import sigssl
from sigssl.errors import UserError
from sigssl.training.checkpoint import encoder_folder, load_encoder, read_meta, save_encoder
from sigssl.types import Hidden

TRUST = ("sigssl", "test_checkpoint")


class Toy(nn.Module):
    """The smallest encoder: frames of `hop` samples, two layers that share their weights."""

    def __init__(self, dim: int = 4, hop: int = 10) -> None:
        super().__init__()
        self.dim, self.hop, self.num_layers, self.sample_rate = dim, hop, 2, 16000
        self.stem = nn.Linear(hop, dim)
        layer = nn.Linear(dim, dim)
        self.layers = nn.ModuleList([layer, layer])
        self.register_buffer("scale", torch.ones(dim))

    def forward(self, x: Tensor, lengths: Tensor) -> Hidden:
        states = [self.stem(x[:, 0].unfold(-1, self.hop, self.hop)) * self.scale]
        for layer in self.layers:
            states.append(torch.tanh(layer(states[-1])))
        return Hidden(states, lengths // self.hop)


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Toy, Path]:
    torch.manual_seed(0)
    encoder = Toy()
    encoder.scale.fill_(2.0)
    return encoder, save_encoder(tmp_path / "exp" / "encoder", encoder, {"data": "train"})


def test_round_trip_is_exact(saved: tuple[Toy, Path]) -> None:
    encoder, folder = saved
    again = load_encoder(folder, trust=TRUST)
    assert not again.training
    x, lengths = torch.randn(2, 1, 50), torch.tensor([50, 40])
    for a, b in zip(encoder.eval()(x, lengths).states, again(x, lengths).states, strict=True):
        assert torch.equal(a, b)
    meta = read_meta(folder)
    assert (meta["sample_rate"], meta["hop"], meta["dim"], meta["num_layers"], meta["data"]) == (16000, 10, 4, 2, "train")
    assert meta["versions"]["sigssl"] == sigssl.__version__


def test_run_folder_and_replacement(saved: tuple[Toy, Path]) -> None:
    encoder, folder = saved
    assert encoder_folder(folder.parent) == folder
    with torch.no_grad():
        encoder.stem.weight.zero_()
    save_encoder(folder, encoder)
    assert load_encoder(folder.parent, trust=TRUST).stem.weight.abs().sum() == 0
    assert [p.name for p in folder.parent.iterdir()] == ["encoder"], "temporary folders stay behind"


def test_a_class_outside_sigssl_is_refused(saved: tuple[Toy, Path]) -> None:
    with pytest.raises(UserError, match=r"'test_checkpoint\.Toy' is outside of sigssl"):
        sigssl.load(saved[1])


def test_damaged_weights_are_refused(saved: tuple[Toy, Path]) -> None:
    weights = saved[1] / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="SHA-256 differs"):
        load_encoder(saved[1], trust=TRUST)
    config = yaml.safe_load((saved[1] / "config.yaml").read_text())
    del config["meta"]["weights_sha256"]
    (saved[1] / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match="cannot be read"):
        load_encoder(saved[1], trust=TRUST)


@pytest.mark.parametrize(("key", "value"), [("dim", 5), ("hop", 7)])
def test_weights_that_do_not_fit_are_refused(saved: tuple[Toy, Path], key: str, value: int) -> None:
    file = saved[1] / "config.yaml"
    config = yaml.safe_load(file.read_text())
    config["encoder"]["init_args"][key] = value
    file.write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=r"(?s)does not fit.*size mismatch"):
        load_encoder(saved[1], trust=TRUST)


def test_missing_things_are_named(tmp_path: Path, saved: tuple[Toy, Path]) -> None:
    with pytest.raises(UserError, match="is no folder"):
        load_encoder(tmp_path / "nothing")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(UserError, match="no finished encoder yet"):
        load_encoder(tmp_path / "run")
    (saved[1] / "config.yaml").write_text("format: 9\nencoder: {class_path: x}\n")
    with pytest.raises(UserError, match="newer sigssl"):
        load_encoder(saved[1])
    (saved[1] / "config.yaml").write_text("encoder: [")
    with pytest.raises(UserError, match="no readable YAML"):
        load_encoder(saved[1])
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.pdf").write_text("")
    with pytest.raises(UserError, match="something other than an encoder"):
        save_encoder(tmp_path / "papers", Toy())


def test_loading_needs_no_lightning() -> None:
    code = "import sigssl.training.checkpoint, sys; assert not {'lightning', 'jsonargparse'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
