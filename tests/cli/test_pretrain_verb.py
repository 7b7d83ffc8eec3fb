"""The verbs pretrain and export through the real parser, and every shipped configuration with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

import sigssl
from sigssl.cli.common import instantiate, parse
from sigssl.cli.main import main
from sigssl.cli.pretrain import parser, tiny
from sigssl.config import build, describe
from sigssl.data.datadir import DataDir
from sigssl.errors import UserError
from sigssl.methods import Method
from sigssl.methods.s3prl_layout import import_s3prl
from sigssl.training.pretrain import accumulation

CONF = Path(__file__).parents[2] / "recipes" / "conf"
METHODS = sorted(path for path in CONF.glob("*/*.yaml") if "method:" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", METHODS, ids=[f"{path.parent.name}/{path.name}" for path in METHODS])
def test_every_shipped_configuration_parses_and_round_trips(path: Path) -> None:
    verb = parser()
    config = parse(verb, ["--config", str(path), "data.train=data/train", "out=exp/x"])
    made = instantiate(verb, config)
    assert isinstance(made.method, Method)
    described = describe(made.method)
    assert describe(build(yaml.safe_load(yaml.safe_dump(described)))) == described
    for section in ("data", "optim", "trainer"):
        wanted = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get(section, {})
        values = getattr(made, section)
        for key, value in wanted.items():
            got = getattr(values, key)
            assert (list(got) if isinstance(got, tuple) else got) == value, f"{section}.{key}"


@pytest.mark.parametrize("name", ["tera", "mockingjay", "audio_albert"])
def test_base_configurations_have_the_published_updates(name: str) -> None:
    """specs: 1 M updates of 32 crops of 15 s, lr 2e-4, warm-up 7 %, clip 5, weight decay 0.01."""
    verb = parser()
    made = instantiate(verb, parse(verb, ["--config", str(CONF / name / "base.yaml"), "data.train=x", "out=y"]))
    optim, data = made.optim, made.data
    assert (optim.lr, optim.warmup, optim.clip, optim.weight_decay, optim.decay) == (2e-4, 0.07, 5.0, 0.01, "linear")
    seconds, passes = accumulation(optim, data.batch_seconds, 1)
    assert passes * int(seconds / data.crop_seconds) == 32
    assert made.trainer.updates == 1_000_000 and data.min_seconds == 2.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.trian=x"], "Did you mean 'data.train'"),
        (["optim.learning_rate=1"], "optim.learning_rate"),
        (["optim.lr=fast"], "optim.lr"),
        (["method.class_path=sigssl.nn.TransformerEncoder"], "TransformerEncoder"),
        (["trainer.precision=16-mixed"], "trainer.precision"),
    ],
)
def test_wrong_words_are_explained(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["pretrain", "--config", str(CONF / "tera" / "tiny.yaml"), "data.train=x", "out=y"]
    assert main(base + words) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said


def test_an_unknown_key_in_a_file_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = yaml.safe_load((CONF / "tera" / "tiny.yaml").read_text())
    config["optim"]["warm_up"] = 0.1
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    assert main(["pretrain", "--config", str(tmp_path / "c.yaml"), "data.train=x", "out=y"]) == 2
    assert "Did you mean 'optim.warmup'" in capsys.readouterr().err


def test_tiny_takes_the_file_beside() -> None:
    base = str(CONF / "tera" / "base.yaml")
    assert (
        tiny(["--config", base, "--tiny"])[1]
        == tiny(["--tiny", f"--config={base}"])[1].split("=")[1]
        == str(CONF / "tera" / "tiny.yaml")
    )
    with pytest.raises(UserError, match="there is no"):
        tiny(["--config", "nowhere/base.yaml", "--tiny"])


def test_pretrain_export_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    wav = {}
    for i in range(6):
        wav[f"u{i}"] = str(tmp_path / f"u{i}.wav")
        soundfile.write(wav[f"u{i}"], 0.1 * rng.standard_normal(8000), 16000)
    DataDir(tmp_path / "data", wav=wav, utt2spk=dict.fromkeys(wav, "s")).write()
    out = tmp_path / "exp"
    words = ["--config", str(CONF / "tera" / "base.yaml"), "--tiny", f"data.train={tmp_path / 'data'}", f"out={out}"]
    words += ["trainer.updates=2", "trainer.accelerator=cpu", "trainer.devices=1", "data.workers=0"]
    assert main(["pretrain", *words, "optim.lr=1e-3"]) == 0
    said = capsys.readouterr().out
    assert "h of signal per update" in said and "1,403,408 trainable parameters" in said and "1 x cpu, 32-true" in said
    assert main(["pretrain", *words]) == 0 and "nothing to do" in capsys.readouterr().out
    assert main(["export", str(out), str(tmp_path / "enc"), "--checkpoint", "last"]) == 0
    card = (tmp_path / "enc" / "README.md").read_text()
    for fact in ("library_name: sigssl", "license: unknown", "TERA; 2 updates", "Trained on: data, 0.0008 hours, 1 speaker."):
        assert fact in card, card
    one, two = sigssl.load(out), sigssl.load(tmp_path / "enc")
    x, lengths = torch.randn(1, 1, 8000), torch.tensor([8000])
    assert torch.equal(one(x, lengths).states[-1], two(x, lengths).states[-1])
    assert main(["export", str(out), str(tmp_path / "enc2"), "--checkpoint", "lsat"]) == 2
    assert "Did you mean 'last'" in capsys.readouterr().err
    assert main(["export", str(out), str(tmp_path / "tera.ckpt"), "--format", "s3prl"]) == 0
    theirs = import_s3prl(tmp_path / "tera.ckpt").encoder.eval()
    torch.testing.assert_close(theirs(x, lengths).states[-1], one(x, lengths).states[-1])
    again = tmp_path / "again"  # the resolved configuration is itself one to run
    assert main(["pretrain", "--config", str(out / "config.yaml"), f"out={again}"]) == 0
    assert json.loads((again / "metrics.json").read_text())["loss"] == json.loads((out / "metrics.json").read_text())["loss"]
