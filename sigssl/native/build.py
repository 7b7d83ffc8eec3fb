"""Compile the C++ kernels: at install where a compiler is there, else at first use into a cache. Standard library only.

`setup.py` loads this file by its path, so it must not import anything of sigssl.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path(__file__).parent / "csrc"
LIBRARY = "_kernels.so"  # beside this file where the installation compiled it
FLAGS = ("-O3", "-fPIC", "-fno-math-errno", "-fno-trapping-math")
CXX_FLAGS = ("-std=c++17", "-fno-exceptions", "-fno-rtti")
LEVELS = {
    "baseline": (),
    "avx2": ("-mavx2", "-mfma"),
    "avx512": ("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"),
}


class BuildError(Exception):
    """No compiler, or one that failed; the text says which and what it printed."""


def levels() -> dict[str, tuple[str, ...]]:
    """Instruction sets to compile for on this kind of machine, the least first; which one runs is found out at run time."""
    x86 = platform.machine().lower() in ("x86_64", "amd64", "i686")
    return LEVELS if x86 else {"baseline": ()}


def source_hash() -> str:
    """What identifies the sources and flags; a compiled library carries it and is refused where it differs."""
    digest = hashlib.sha256(repr((FLAGS, CXX_FLAGS, levels())).encode())
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def find_compiler() -> str:
    """The C++ compiler: $CXX, or the first of g++, clang++ and c++ on PATH.

    Raises:
        BuildError: none is there.
    """
    for name in (os.environ.get("CXX", ""), "g++", "clang++", "c++"):
        if name and shutil.which(name.split()[0]):
            return name
    raise BuildError("no C++ compiler: neither $CXX nor g++, clang++ or c++ is on PATH")


def compile_library(target: Path) -> None:
    """Compile every instruction set side by side and link them into `target`, whole or not at all.

    Raises:
        BuildError: no compiler, or what it printed.
        OSError: `target`'s folder cannot be written.
    """
    compiler = find_compiler().split()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        stamp = f'-DSOURCE_HASH="{source_hash()}"'
        commands = [[*compiler, "-x", "c", *FLAGS, stamp, "-c", str(SOURCES / "cpu.c"), "-o", f"{folder}/cpu.o"]]
        commands += [
            [*compiler, *CXX_FLAGS, *FLAGS, *flags, f"-DISA={name}", "-c", str(SOURCES / "kernels.cpp"), "-o", f"{folder}/{name}.o"]
            for name, flags in levels().items()
        ]
        with ThreadPoolExecutor(max_workers=len(commands)) as pool:
            list(pool.map(_run, commands))
        objects = [f"{folder}/{name}.o" for name in ("cpu", *levels())]
        whole = Path(folder) / LIBRARY
        _run([*compiler, "-shared", *objects, "-o", str(whole), "-lpthread"])
        whole.replace(target)


def cache_path() -> Path:
    """Where the library compiled at first use is kept: one file for each source, flags, compiler and kind of machine."""
    compiler = find_compiler()
    version = subprocess.run([*compiler.split(), "--version"], capture_output=True, text=True, check=False).stdout.split("\n")[0]
    key = hashlib.sha256(repr((source_hash(), compiler, version, platform.machine(), sys.platform)).encode()).hexdigest()[:16]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "sigssl" / f"kernels-{key}.so"


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
