"""The wheel with and without a compiler, from the sdist, in a clean environment; what is said where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import torch

import sigssl
from sigssl.native import build

ROOT = Path(sigssl.__file__).parents[1]
COMPILER = any(Path(folder, name).exists() for folder in os.environ["PATH"].split(os.pathsep) for name in ("g++", "clang++", "c++"))
CHECK = """
import sys, warnings
sys.path[1:1] = sys.argv[2:]
import torch
from sigssl.nn import Mamba
from sigssl.nn.scan import engines
import sigssl
assert "environment" in sigssl.__file__, sigssl.__file__
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(2):
        Mamba(16)(torch.randn(1, 9, 16)).sum().backward()
slow = [str(w.message) for w in caught if "pure torch engine" in str(w.message)]
works = {name: works for name, works, _ in engines()}
if sys.argv[1] == "with":
    assert works["cpp"] and not slow, (works, slow)
else:
    assert not works["cpp"] and works["torch"] and len(slow) == 1 and "compiler" in slow[0], (works, slow)
"""


def run(command: list[str], cwd: Path, **environment: str) -> None:
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, unpacked: nothing but what it carries is there to build from."""
    if not (ROOT / "setup.py").exists():
        pytest.skip("sigssl is installed without its sources")
    folder = tmp_path_factory.mktemp("sdist")
    copy = folder / "copy"
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split("\n")
    if len(names) < 2:
        pytest.skip("sigssl's sources are not in git: nothing says which files to pack")
    for name in filter(None, names):
        if name.startswith("sigssl/") or "/" not in name:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    script = "import setuptools.build_meta as b; b.build_sdist('..')"
    run([sys.executable, "-c", script], copy)
    (archive,) = folder.glob("*.tar.gz")
    run(["tar", "xzf", str(archive)], folder)
    (unpacked,) = folder.glob("sigssl-*[0-9]")
    return unpacked


@pytest.mark.parametrize("compiler", ["with", "without"])
def test_install(compiler: str, sdist: Path, tmp_path: Path) -> None:
    if compiler == "with" and not COMPILER:
        pytest.skip("no C++ compiler here")
    shutil.rmtree(sdist / "build", ignore_errors=True)
    path = os.environ["PATH"] if compiler == "with" else str(tmp_path)
    run([sys.executable, "-c", f"import setuptools.build_meta as b; b.build_wheel({str(tmp_path)!r})"], sdist, PATH=path, CXX="")
    (wheel,) = tmp_path.glob("*.whl")
    assert "-py3-none-" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    assert "sigssl/native/csrc/kernels.cpp" in names
    assert ("sigssl/native/_kernels.so" in names) == (compiler == "with")
    clean = tmp_path / "environment"
    venv.create(clean, with_pip=False)
    python = clean / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    run([*pip, "--disable-pip-version-check", str(wheel)], tmp_path)
    packages = str(Path(torch.__file__).parents[1])
    settings = {"PATH": str(tmp_path), "CXX": "", "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": "", "PYTHONSAFEPATH": ""}
    (site,) = clean.glob("lib/python*/site-packages")
    run([str(python), "-c", CHECK, compiler, str(site), packages], tmp_path, **settings)


def test_a_failing_compiler_says_what_it_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "g++"
    fake.write_text("#!/bin/sh\necho no space left >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("CXX", str(fake))
    with pytest.raises(build.BuildError, match="no space left"):
        build.compile_library(tmp_path / "out" / "library.so")
    assert not list((tmp_path / "out").iterdir())


def test_no_compiler_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(build.BuildError, match="no C\\+\\+ compiler"):
        build.find_compiler()
