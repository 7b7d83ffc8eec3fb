"""Find, or compile, the C++ kernels and load them through ctypes; threads come from the OpenMP runtime that torch uses."""

from __future__ import annotations

import ctypes
import os
import re
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from sigssl.errors import UserError, nearest
from sigssl.native import build

ISA = "SIGSSL_NATIVE_ISA"  # forces an instruction set, for tests and for finding faults
TYPES = {torch.float32: 0, torch.bfloat16: 1}


class View(ctypes.Structure):
    """A tensor [batch, time, channels] of any strides, float32 or bfloat16; `View` of simd.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("batch", ctypes.c_int64),
        ("time", ctypes.c_int64),
        ("lane", ctypes.c_int64),
        ("type", ctypes.c_int64),
    )

    @classmethod
    def of(cls, x: Tensor | None) -> View:
        """The view of a tensor; a null pointer where it is absent."""
        return cls() if x is None else cls(x.data_ptr(), *x.stride(), TYPES[x.dtype])


def pointer(x: Tensor | None) -> int | None:
    """Address of a dense tensor's data."""
    return None if x is None else x.data_ptr()


class Kernels:
    """The loaded library at the best instruction set that this processor has."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._library = ctypes.CDLL(str(path))
        self._library.sigssl_source_hash.restype = ctypes.c_char_p
        if self._library.sigssl_source_hash().decode() != build.source_hash():
            raise OSError(f"{path} was compiled from other sources")
        names = list(build.levels())
        self.isa = os.environ.get(ISA) or names[min(self._library.sigssl_cpu_level(), len(names) - 1)]
        if self.isa not in names:
            raise UserError(f"{ISA}={self.isa}: expected one of {', '.join(names)}.{nearest(self.isa, names)}")
        self.runtime = _torch_openmp()
        os.register_at_fork(after_in_child=self._forget_runtime)

    def _forget_runtime(self) -> None:
        """A forked child has none of OpenMP's threads and would wait for them forever; it starts threads of its own."""
        self.runtime = None

    def call(self, name: str, args: ctypes.Structure) -> None:
        """Run a kernel; ctypes lets other Python threads go on meanwhile."""
        self._function(name)(ctypes.byref(args))

    def _function(self, name: str) -> Callable[..., None]:
        function = getattr(self._library, f"sigssl_{name}_{self.isa}")
        function.restype = None
        return function


@cache
def load() -> Kernels:
    """The kernels: those built at install, else those in the cache, else compiled now.

    Raises:
        BuildError, OSError: there is no library and none can be made.
    """
    installed = Path(__file__).parent / build.LIBRARY
    if installed.exists():
        try:
            return Kernels(installed)
        except (OSError, AttributeError):
            pass  # of another machine or another version: made anew below
    cached = build.cache_path()
    if not cached.exists():
        try:
            build.compile_library(cached)
        except OSError:  # no home, or one that cannot be written
            cached = Path(tempfile.mkdtemp(prefix="sigssl-")) / build.LIBRARY
            build.compile_library(cached)
    return Kernels(cached)


@cache
def missing() -> str:
    """Why the kernels cannot run, or nothing. Compiles them where no library is found."""
    try:
        load()
    except (build.BuildError, OSError) as error:
        return str(error).partition("\n")[0]
    return ""


def detail() -> str:
    """What runs: instruction set, threads, library."""
    kernels = load()
    threads = "torch's OpenMP" if kernels.runtime else "own threads"
    return f"{kernels.isa}, {torch.get_num_threads()} threads of {threads}, {kernels.path}"


def _torch_openmp() -> int | None:
    """Address of GOMP_parallel in the OpenMP runtime that torch has loaded: a second runtime would fight it for the cores."""
    candidates = sorted(Path(torch.__file__).parent.glob("lib/lib*omp*"))
    maps = Path("/proc/self/maps")
    if maps.exists():
        loaded = {Path(line) for line in re.findall(r"(/\S*lib(?:gomp|omp|iomp5)[^/\s]*)", maps.read_text())}
        candidates = sorted(loaded, key=lambda path: ("torch" not in str(path), str(path))) or candidates
    for path in candidates:
        try:
            return ctypes.cast(ctypes.CDLL(str(path)).GOMP_parallel, ctypes.c_void_p).value
        except (OSError, AttributeError):
            continue
    return None
