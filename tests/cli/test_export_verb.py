"""`sigssl export`: s3prl's files, both ways."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import sigssl
import sigssl.training.run
from sigssl.cli.main import main
from sigssl.features import LogMel
from sigssl.methods import TERA, FrameEncoder
from sigssl.methods.s3prl_layout import export_s3prl
from sigssl.nn import TransformerEncoder
from sigssl.views import Alter


@pytest.fixture
def method() -> TERA:
    torch.manual_seed(0)
    return TERA(FrameEncoder(LogMel(), TransformerEncoder(80, dim=24, layers=2, heads=3, ffn=48)), Alter()).eval()


@torch.no_grad()
def test_s3prl_file_loads_and_converts(method: TERA, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = export_s3prl(method, tmp_path / "tera.ckpt")
    assert main(["export", str(file), str(tmp_path / "folder")]) == 0
    assert "sigssl.load(" in capsys.readouterr().out
    x, n = torch.randn(1, 1, 8000), torch.tensor([8000])
    expected = method.encoder(x, n).states[-1]
    for path in (file, tmp_path / "folder"):
        assert torch.equal(sigssl.load(path)(x, n).states[-1], expected)


def test_a_run_becomes_an_s3prl_file(
    method: TERA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sigssl.training.run, "load_method", lambda *_: method)
    assert main(["export", "exp/tera", str(tmp_path / "out.ckpt"), "--format", "s3prl"]) == 0
    assert 'S3PRLUpstream("tera_local"' in capsys.readouterr().out
    assert torch.load(tmp_path / "out.ckpt", weights_only=True).keys() >= {"Upstream_Config", "Transformer"}


def test_other_methods_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sigssl.training.run, "load_method", lambda *_: torch.nn.Identity())
    assert main(["export", "exp/other", str(tmp_path / "out.ckpt"), "--format", "s3prl"]) == 2
    assert "holds Identity; s3prl's file format knows TERA" in capsys.readouterr().err
