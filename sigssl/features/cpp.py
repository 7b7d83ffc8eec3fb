"""The features' C++ engine for processors: framing to logarithm in one kernel, many frames to a vector.

It computes what `Extractor.spectrum` defines, which stands in where there is no library or `SIGSSL_FEATURES_BACKEND=torch`.
"""

from __future__ import annotations

import ctypes
import math
import os
import warnings
from functools import cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sigssl.errors import UserError, nearest
from sigssl.features.framing import Framing
from sigssl.features.spectral import Tables
from sigssl.native import library
from sigssl.native.library import missing

VARIABLE = "SIGSSL_FEATURES_BACKEND"
BACKENDS = ("auto", "cpp", "torch")
PART = 1 << 15  # samples whose squares are summed by one thread, as in statistics.h
ENERGIES = ("none", "raw", "windowed")  # as in features.h


class Recipe(NamedTuple):
    """What a feature's `spectrum` does with frames, beside multiplying by its `Tables`."""

    size: int  # of the transform
    floor: float  # added to the energies before the logarithm, or their least value
    add_floor: bool
    logarithm: bool = True
    magnitude: bool = False  # square root of the power
    kaldi: bool = False  # mean, pre-emphasis and window as Kaldi orders them
    remove_dc: bool = False
    preemphasis: float = 0.0
    energy: Literal["none", "raw", "windowed"] = "none"
    energy_scale: float = 1.0  # of samples, for the raw one
    energy_floor: float = 0.0
    energy_column: int = 0
    first_column: int = 0  # of the other features
    rotated: bool = False  # the first cepstrum comes last


def _structure(name: str, **fields: str) -> type[ctypes.Structure]:
    """A structure of the C headers: for each type its fields in order."""
    kinds = {"ints": ctypes.c_int64, "floats": ctypes.c_float, "pointers": ctypes.c_void_p}
    members = [(field, kinds[key.rstrip("0123456789")]) for key, names in fields.items() for field in names.split()]
    return type(name, (ctypes.Structure,), {"_fields_": members})


FrameArgs = _structure(
    "FrameArgs",
    ints0="batch frames width item_stride sample_stride window hop left repeat_edge kaldi remove_dc energy energy_at",
    ints1="filters cepstra first magnitude logarithm add_floor threads size points stages",
    pointers0="radices twiddles split at signals lengths starts gains taper filter_first filter_count weights cosines",
    floats0="preemphasis floor energy_scale energy_floor",
    pointers1="out runtime",
)
EnergyArgs = _structure(
    "EnergyArgs", ints0="batch parts item_stride sample_stride threads", pointers0="signals lengths sums runtime"
)
NormaliseArgs = _structure("NormaliseArgs", ints0="batch frames width variance threads", pointers0="lengths data runtime")


def kernels() -> library.Kernels | None:
    """The engine, or None where torch is to do it: asked for, or, with one warning, because there is no library.

    Raises:
        UserError: an unknown backend, or "cpp" asked for by name where it cannot run.
    """
    asked = os.environ.get(VARIABLE, "auto")
    if asked not in BACKENDS:
        raise UserError(f"{VARIABLE}={asked}: expected one of {', '.join(BACKENDS)}.{nearest(asked, BACKENDS)}")
    if asked == "torch":
        return None
    reason = missing()
    if not reason:
        return library.load()
    if asked == "cpp":
        raise UserError(f"{VARIABLE}=cpp cannot run here: {reason}. Set it to auto or torch.")
    _warn_slow(reason)
    return None


@cache
def _warn_slow(reason: str) -> None:
    warnings.warn(
        f"features are computed by torch, several times slower than they could be ({reason}). Install a C++ compiler (g++ or "
        f"clang++), or set {VARIABLE}=torch to say that this is meant.",
        stacklevel=3,
    )


class Plan(NamedTuple):
    """A feature made ready for the kernel: its constants, all on the processor."""

    framing: Framing
    width: int
    recipe: Recipe
    points: int  # complex ones: half the transform where it is even
    radices: Tensor  # int64
    twiddles: Tensor
    split: Tensor
    at: Tensor  # int64
    taper: Tensor
    filter_first: Tensor | None  # int64
    filter_count: Tensor | None  # int64
    weights: Tensor | None
    cosines: Tensor | None

    @classmethod
    def of(cls, framing: Framing, width: int, tables: Tables, recipe: Recipe) -> Plan | None:
        """The plan, or None for what the kernel does not know: other factors than 2, 3, 5, or logarithms of less than 1e-30."""
        even = recipe.size % 2 == 0
        points = recipe.size // 2 if even else recipe.size
        radices = factors(points)
        if radices is None or (recipe.logarithm and recipe.floor < 1e-30):
            return None
        first = count = weights = None
        if tables.filters:
            first, count, weights = _sparse(tables.filters.matrix)
        return cls(
            framing=framing,
            width=width,
            recipe=recipe,
            points=points,
            radices=torch.tensor(radices, dtype=torch.int64),
            twiddles=_twiddles(radices),
            split=_circle(torch.arange(points // 2 + 1), recipe.size),
            at=_places(radices, recipe.size),
            taper=tables.taper * 0.5 if even else tables.taper,
            filter_first=first,
            filter_count=count,
            weights=weights,
            cosines=None if tables.cosines is None else tables.cosines.roll(-int(recipe.rotated), 1).contiguous(),
        )

    def batch(self, waveform: Tensor, lengths: Tensor, gains: Tensor | None, engine: library.Kernels) -> Tensor:
        """Frames [B, T, width], 0 behind the lengths, of signals float32 [B, S] of any strides.

        Args:
            waveform: signals.
            lengths: valid samples of each [B], at most S.
            gains: float32 [B], what each is multiplied by, or None.
            engine: the library.
        """
        out = torch.empty(len(lengths), self.framing.count(waveform.shape[1]), self.width)
        self._run(waveform, waveform.stride(), lengths, gains, self.framing, out, engine)
        return out

    def rows(self, frames: Tensor, engine: library.Kernels) -> Tensor:
        """Features [M, width] of frames [M, window], `hop` samples apart in memory (a view that `Framing` made)."""
        out = torch.empty(1, len(frames), self.width)
        inner = Framing(self.framing.window, self.framing.hop)
        samples = (len(frames) - 1) * inner.hop + inner.window
        self._run(frames, (0, 1), torch.tensor([samples]), None, inner, out, engine)
        return out[0]

    def _run(
        self,
        signals: Tensor,
        strides: tuple[int, ...],
        lengths: Tensor,
        gains: Tensor | None,
        framing: Framing,
        out: Tensor,
        engine: library.Kernels,
    ) -> None:
        if out.numel() == 0:
            return
        lengths = lengths.to(torch.int64).contiguous()
        starts = torch.zeros(len(lengths) + 1, dtype=torch.int64)
        torch.cumsum(framing.count(lengths), 0, out=starts[1:])
        recipe, cepstra = self.recipe, 0 if self.cosines is None else self.cosines.shape[1]
        raw = recipe.energy == "raw"
        args = FrameArgs(
            batch=len(lengths),
            frames=out.shape[1],
            width=self.width,
            item_stride=strides[0],
            sample_stride=strides[1],
            window=framing.window,
            hop=framing.hop,
            left=framing.left,
            repeat_edge=framing.repeat_edge,
            kaldi=recipe.kaldi,
            remove_dc=recipe.remove_dc,
            energy=ENERGIES.index(recipe.energy),
            energy_at=recipe.energy_column,
            filters=recipe.size // 2 + 1 if self.filter_first is None else len(self.filter_first),
            cepstra=cepstra,
            first=recipe.first_column,
            magnitude=recipe.magnitude,
            logarithm=recipe.logarithm,
            add_floor=recipe.add_floor,
            threads=torch.get_num_threads(),
            size=recipe.size,
            points=self.points,
            stages=len(self.radices),
            preemphasis=recipe.preemphasis,
            floor=recipe.floor,
            energy_scale=recipe.energy_scale**2 if raw else (recipe.size / self.points) ** 2,
            energy_floor=math.log(recipe.energy_floor) if recipe.energy_floor > 0 else -math.inf,
            signals=signals.data_ptr(),
            lengths=lengths.data_ptr(),
            starts=starts.data_ptr(),
            out=out.data_ptr(),
            gains=library.pointer(gains),
            runtime=engine.runtime,
            **{name: library.pointer(getattr(self, name)) for name in POINTERS},
        )
        engine.call("frame_features", args)


POINTERS = ("radices", "twiddles", "split", "at", "taper", "filter_first", "filter_count", "weights", "cosines")


def energies(waveform: Tensor, lengths: Tensor, engine: library.Kernels) -> Tensor:
    """Sum of squares of each signal float32 [B, S] within its length: float64 [B]."""
    lengths = lengths.to(torch.int64).contiguous()
    parts = max(1, -(-waveform.shape[1] // PART))
    sums = torch.empty(len(lengths), parts, dtype=torch.float64)
    args = EnergyArgs(len(lengths), parts, *waveform.stride(), torch.get_num_threads())
    args.signals, args.lengths, args.sums = waveform.data_ptr(), lengths.data_ptr(), sums.data_ptr()
    args.runtime = engine.runtime
    engine.call("signal_energy", args)
    return sums.sum(1)


def normalise(frames: Tensor, lengths: Tensor, variance: bool, engine: library.Kernels) -> None:
    """`sigssl.features.normalise` of contiguous frames float32 [B, T, F], in place."""
    if frames.numel() == 0:
        return
    lengths = lengths.to(torch.int64).contiguous()
    args = NormaliseArgs(*frames.shape, variance, torch.get_num_threads(), lengths.data_ptr(), frames.data_ptr(), engine.runtime)
    engine.call("normalise", args)


def factors(points: int) -> list[int] | None:
    """Factors 8, 5, 4, 3 and 2 of a transform, the first ones as wide as can be; None where another is left."""
    made: list[int] = []
    twos = (points & -points).bit_length() - 1
    eights, rest = divmod(twos, 3)
    if rest == 1 and eights:
        eights, fours, two = eights - 1, 2, 0
    else:
        fours, two = divmod(rest, 2)
    made = [8] * eights + [4] * fours + [2] * two
    points >>= twos
    for radix in (5, 3):
        while points % radix == 0:
            made.append(radix)
            points //= radix
    return made if points == 1 else None


def _circle(k: Tensor, size: int) -> Tensor:
    """`exp(-2 pi i k / size)`: float32 [..., 2]."""
    angle = k.to(torch.float64) * (-2 * math.pi / size)
    return torch.stack([angle.cos(), angle.sin()], -1).float().contiguous()


def _twiddles(radices: list[int]) -> Tensor:
    """What the outputs of each stage's butterflies are multiplied by, as the kernel reads it: flat."""
    made, points = [torch.zeros(0)], math.prod(radices)
    for radix in radices:
        made.append(_circle(torch.arange(points // radix)[:, None] * torch.arange(1, radix), points).flatten())
        points //= radix
    return torch.cat(made)


def _places(radices: list[int], size: int) -> Tensor:
    """Row where each bin's power ends [size // 2 + 1]: its point's real one; the last bin of an even transform beside bin 0."""
    points = math.prod(radices)
    bins = torch.arange(points)
    place, stride = torch.zeros_like(bins), points
    for radix in radices:
        stride //= radix
        place += bins % radix * stride
        bins = bins // radix
    rows = 2 * place
    return torch.cat([rows, rows[:1] + 1]) if points != size else rows[: size // 2 + 1].contiguous()


def _sparse(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each filter of [bins, F] its first bin, how many bins it spans, and all their weights end to end."""
    used = [column.nonzero().flatten() for column in matrix.t()]
    first = torch.tensor([int(u[0]) if len(u) else 0 for u in used], dtype=torch.int64)
    count = torch.tensor([int(u[-1] - u[0]) + 1 if len(u) else 0 for u in used], dtype=torch.int64)
    spans = [column[a : a + n] for column, a, n in zip(matrix.t(), first.tolist(), count.tolist(), strict=True)]
    return first, count, torch.cat(spans).float().contiguous()
