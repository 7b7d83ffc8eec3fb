"""The shim adds what is missing, once, and touches nothing else."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from sigssl.errors import UserError
from sigssl.interop import s3prl_shim


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A torchaudio of today, without what s3prl looks for."""
    module = ModuleType("torchaudio")
    module.__dict__["load"] = object()
    monkeypatch.setitem(sys.modules, "torchaudio", module)
    monkeypatch.delitem(sys.modules, "torchaudio.sox_effects", raising=False)
    return module


def test_adds_what_is_missing_and_twice_is_once(bare: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchaudio.sox_effects", None)  # type: ignore[arg-type]  # restored afterwards
    before = dict(vars(bare))
    s3prl_shim.install()
    after = dict(vars(bare))
    assert after.keys() - before.keys() == {"set_audio_backend", "sox_effects"}
    assert all(after[k] is v for k, v in before.items())
    assert sys.modules["torchaudio.sox_effects"] is after["sox_effects"]
    s3prl_shim.install()
    assert dict(vars(bare)) == after
    assert after["set_audio_backend"]("soundfile") is None
    with pytest.raises(UserError, match="removed from torchaudio"):
        after["sox_effects"].apply_effects_tensor(1, 2)


def test_leaves_an_older_torchaudio_alone(bare: ModuleType) -> None:
    bare.__dict__.update(set_audio_backend=1, sox_effects=2)
    before = dict(vars(bare))
    s3prl_shim.install()
    assert dict(vars(bare)) == before
    assert "torchaudio.sox_effects" not in sys.modules
