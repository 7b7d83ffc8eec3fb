"""sigssl inside s3prl and s3prl inside sigssl, against s3prl itself (the checks are in s3prl_session.py), and the shim's parts."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch

from sigssl.errors import UserError
from sigssl.interop import s3prl_run, s3prl_shim
from sigssl.optional import available

SESSION = Path(__file__).with_name("s3prl_session.py")
CHECKS = [
    node.name
    for node in ast.parse(SESSION.read_text()).body
    if isinstance(node, ast.FunctionDef) and any(isinstance(d, ast.Name) and d.id == "check" for d in node.decorator_list)
]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    if not available("s3prl"):
        pytest.skip("s3prl is not installed: pip install s3prl")
    folder = tmp_path_factory.mktemp("session")
    done = subprocess.run([sys.executable, str(SESSION), str(folder)], capture_output=True, text=True)
    assert (folder / "outcome.json").is_file(), done.stderr[-3000:]
    found: dict[str, str] = json.loads((folder / "outcome.json").read_text())
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # s3prl imports pkg_resources when it is looked for
@pytest.mark.parametrize("name", CHECKS)
def test_against_s3prl(name: str, outcome: dict[str, str]) -> None:
    if outcome[name].startswith("skip: "):
        pytest.skip(outcome[name].removeprefix("skip: "))
    assert not outcome[name], outcome[name]


def test_reading_files_as_torchaudio_did(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, (800, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    whole, rate = s3prl_shim.load(tmp_path / "a.wav")
    assert rate == 16000
    torch.testing.assert_close(whole, torch.from_numpy(samples.T.copy()))
    part, _ = s3prl_shim.load(tmp_path / "a.wav", frame_offset=10, num_frames=5, channels_first=False)
    torch.testing.assert_close(part, torch.from_numpy(samples[10:15]))
    told = s3prl_shim.info(tmp_path / "a.wav")
    assert (told.num_frames, told.num_channels, told.sample_rate, told.bits_per_sample) == (800, 2, 16000, 32)


def test_the_effects_that_are_known() -> None:
    x = torch.randn(2, 1000)
    same, rate = s3prl_shim.apply_effects_tensor(x, 16000, [["channels", "1"], ["gain", "-20"], ["rate", "16000"]])
    torch.testing.assert_close(same, x.mean(0, keepdim=True) / 10)
    half, rate = s3prl_shim.apply_effects_tensor(x.T, 16000, [["rate", "8000"]], channels_first=False)
    assert half.shape == (500, 2) and rate == 8000
    with pytest.raises(UserError, match="sox effect 'reverb -w'"):
        s3prl_shim.apply_effects_tensor(x, 16000, [["reverb", "-w"]])


def test_runners_find_what_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    audio, hub = ModuleType("torchaudio"), ModuleType("huggingface_hub")
    monkeypatch.setitem(sys.modules, "torchaudio", audio)
    monkeypatch.setitem(sys.modules, "torchaudio.sox_effects", None)  # type: ignore[arg-type]  # restored afterwards
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setitem(sys.modules, "torchcodec", None)  # type: ignore[arg-type]
    monkeypatch.setattr(torch.serialization, "add_safe_globals", lambda classes: None)
    s3prl_shim.install_for_runners()
    first = {**vars(audio), **vars(hub)}
    assert first["load"] is s3prl_shim.load and first["info"] is s3prl_shim.info
    assert first["sox_effects"].apply_effects_tensor is s3prl_shim.apply_effects_tensor
    for use in (lambda: first["Repository"]("x"), lambda: first["HfFolder"].save_token("x")):
        with pytest.raises(UserError, match=r"huggingface_hub\..* was removed"):
            use()
    s3prl_shim.install_for_runners()
    assert {**vars(audio), **vars(hub)} == first


def test_the_launcher_says_what_it_wants(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert s3prl_run.main([]) == 2
    assert s3prl_run.main(["--help"]) == 0
    assert "python -m sigssl.interop.s3prl_run" in capsys.readouterr().out
    assert s3prl_run.main([str(tmp_path / "nothing.py")]) == 2
    assert "no such script" in capsys.readouterr().err
