"""Shared fixtures: where the real recordings are, a closed network, and one thread per test worker."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
torch.set_num_threads(1)
# the same examples on every run, so that a change is judged by what it changed; SIGSSL_HYPOTHESIS=search looks for new ones
hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.register_profile("search", max_examples=500)
hypothesis.settings.load_profile(os.environ.get("SIGSSL_HYPOTHESIS", "same"))


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """A folder of real recordings by name (`real_data("speech_digits")`); skips, saying why, where it is absent."""
    base = Path(os.environ.get("SIGSSL_DATA", ROOT / ".." / "shared" / "data")).resolve()

    def find(name: str) -> Path:
        folder = base / name
        if not folder.is_dir():
            pytest.skip(f"no real recordings at {folder}: set SIGSSL_DATA to the folder that holds {name!r}")
        return folder

    return find


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail any connection that leaves this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> object:
        local = self.family == socket.AF_UNIX or (
            isinstance(address, tuple) and str(address[0]) in ("127.0.0.1", "::1", "localhost")
        )
        return connect(self, address) if local else refuse(address)  # type: ignore[arg-type]

    def refuse(address: object) -> NoReturn:
        raise AssertionError(f"a test tried to reach the network: {address}")

    monkeypatch.setattr(socket.socket, "connect", guarded)
