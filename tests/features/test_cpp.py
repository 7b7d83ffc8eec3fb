"""The C++ engine beside torch: any settings, sizes and lengths, threads, instruction sets, strides, near-silent bins."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sigssl.errors import UserError
from sigssl.features import MFCC, Deltas, Extractor, KaldiFbank, LogMel, cpp, normalise
from sigssl.features.framing import Framing
from sigssl.features.spectral import Tables, power_spectrum
from sigssl.native import build, library

pytestmark = pytest.mark.skipif(bool(cpp.missing()), reason="no C++ engine here")


@pytest.fixture(autouse=True, scope="module")
def engine() -> None:
    """These tests choose engines themselves."""


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


def on(backend: str, compute: Callable[[], Any]) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(cpp.VARIABLE, backend)
        return compute()


def both(extractor: Extractor, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Frames by the kernel, which must have run, and by torch."""
    frames = on("cpp", lambda: extractor(x, lengths))[0]
    assert extractor._plan[0] is not None
    return frames, on("torch", lambda: extractor(x, lengths))[0]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 15, 16, 25, 32, 64, 75, 100, 128, 200, 240, 256, 320, 400, 405])
def test_power_spectrum_of_every_size_against_double_precision(size: int) -> None:
    floor = 1e-20
    for window in {size, max(1, size - 3)}:
        framing = Framing(window, max(1, window // 2))
        plan = cpp.Plan.of(
            framing, size // 2 + 1, Tables(torch.ones(window)), cpp.Recipe(size, floor, add_floor=True, logarithm=False)
        )
        assert plan is not None
        x = noise(1, 37 * window)
        counted = plan.batch(x, torch.tensor([x.shape[1]]), None, library.load())[0]
        rows = framing.view(x[0], len(counted))
        exact = torch.fft.rfft(rows.double(), size).abs().square()
        scale = exact.sum(1, keepdim=True)
        error = ((counted - exact) / scale).abs().max()
        assert error <= max(2 * ((power_spectrum(rows, size) - exact) / scale).abs().max(), 2e-7), (window, error)


@pytest.mark.parametrize("size", [256, 400, 512])
def test_near_silent_bins_are_as_good_as_torch_has_them(size: int) -> None:
    t = torch.arange(64 * size, dtype=torch.float64)
    taper = 0.5 - 0.5 * torch.cos(2 * math.pi * torch.arange(size, dtype=torch.float64) / size)
    x = (0.5 * torch.sin(2 * math.pi * t * 20 / size + 0.3)).float()[None]  # on a bin: all but three are empty
    framing = Framing(size, size // 4 + 3)
    recipe = cpp.Recipe(size, 1e-20, add_floor=True, logarithm=False)
    plan = cpp.Plan.of(framing, size // 2 + 1, Tables(taper.float()), recipe)
    assert plan is not None
    made = plan.batch(x, torch.tensor([x.shape[1]]), None, library.load())[0]
    rows = framing.view(x[0], len(made))
    exact = torch.fft.rfft(rows.double() * taper.float().double(), size).abs().square()
    empty = exact < 1e-9
    assert empty.sum() > 1000
    assert (made - exact)[empty].abs().mean() <= 1.2 * (power_spectrum(rows * taper.float(), size) - exact)[empty].abs().mean()


def test_logarithm_to_an_ulp() -> None:
    framing = Framing(1, 1)  # windows of one sample
    plan = cpp.Plan.of(framing, 1, Tables(torch.ones(1)), cpp.Recipe(1, 1e-30, add_floor=False))
    assert plan is not None
    values = torch.cat([torch.logspace(-14, 18, 20_000), torch.linspace(0.6, 1.5, 20_000)])
    made = plan.batch(values[None], torch.tensor([len(values)]), None, library.load())[0, :, 0]
    exact = values.square().double().log()
    spacing = torch.nextafter(exact.float().abs(), torch.tensor(math.inf)) - exact.float().abs()
    assert ((made - exact).abs() / spacing).max() < 1.5
    special = torch.tensor([[math.inf, math.nan, 0.0]])
    made = plan.batch(special, torch.tensor([3]), None, library.load())[0, :, 0]
    assert made[0] == math.inf and made[1].isnan() and made[2] == pytest.approx(math.log(1e-30))


LOG_MEL = st.fixed_dictionaries(
    {
        "n_mels": st.sampled_from([1, 13, 40, None]),
        "sample_rate": st.sampled_from([8000, 11025, 16000, 22050]),
        "window_ms": st.sampled_from([16.0, 20.0, 25.0, 32.0]),
        "hop_ms": st.sampled_from([2.0, 10.0, 12.5, 40.0]),
        "n_fft": st.sampled_from([None, 1024, 810]),
        "floor": st.sampled_from([1e-10, 1e-5]),
        "loudness": st.sampled_from([None, -25.0]),
        "cmvn": st.sampled_from([None, "mean", "utterance"]),
        "deltas": st.sampled_from([None, Deltas(1)]),
    }
)
KALDI = st.fixed_dictionaries(
    {
        "n_mels": st.sampled_from([13, 23, 40]),
        "sample_rate": st.sampled_from([8000, 16000, 22050]),
        "window_ms": st.sampled_from([20.0, 25.0, 30.0]),
        "window_type": st.sampled_from(["povey", "hamming", "rectangular"]),
        "preemphasis": st.sampled_from([0.0, 0.97]),
        "cmvn": st.sampled_from([None, "utterance"]),
        "energy_floor": st.sampled_from([0.0, 1.0]),
        "scale": st.sampled_from([1.0, 32768.0]),
        **{name: st.booleans() for name in ("remove_dc", "snip_edges", "use_energy", "raw_energy", "htk_compat")},
    }
)
FBANK = st.fixed_dictionaries({"use_log": st.booleans(), "use_power": st.booleans()})
# a signal shorter than a frame is reflected to a periodic one: lines, and between them nothing but rounding, whose logarithm is no
# result to compare; short ones are therefore compared above a floor
SIZES = st.lists(st.just(0) | st.integers(1500, 3000), min_size=1, max_size=6)
SHORT = st.lists(st.integers(0, 700), min_size=1, max_size=40)


def agree(extractor: Extractor, sizes: list[int]) -> None:
    lengths = torch.tensor(sizes)
    x = noise(len(sizes), max(sizes) + 7, seed=len(sizes))
    fast, slow = both(extractor, x, lengths)
    # a column that hardly varies is magnified by CMVN, and so is the rounding of what it is made of
    torch.testing.assert_close(fast, slow, atol=2e-3 if extractor.cmvn else 1e-3, rtol=2e-4)


@settings(max_examples=40, deadline=None)
@given(options=LOG_MEL, sizes=SIZES)
def test_log_mel_of_any_settings(options: dict[str, Any], sizes: list[int]) -> None:
    try:
        extractor = LogMel(**options)
    except UserError:
        return
    if cpp.factors(extractor._size) is not None:
        agree(extractor, sizes)


@settings(max_examples=40, deadline=None)
@given(options=KALDI, other=FBANK, cepstra=st.booleans(), sizes=SIZES)
def test_kaldi_of_any_settings(options: dict[str, Any], other: dict[str, Any], cepstra: bool, sizes: list[int]) -> None:
    agree(MFCC(**options, n_ceps=13) if cepstra else KaldiFbank(**options, **other), sizes)


@settings(max_examples=20, deadline=None)
@given(sizes=SHORT, hop=st.sampled_from([2.0, 10.0, 25.0]))
def test_short_signals(sizes: list[int], hop: float) -> None:
    agree(LogMel(40, hop_ms=hop, floor=1e-3, loudness=None, cmvn=None), sizes)
    agree(KaldiFbank(40, hop_ms=hop, snip_edges=False, scale=1.0), sizes)


def test_threads_do_not_change_a_bit() -> None:
    lengths = torch.tensor([100_000, 399, 0, 70_001, 12_345])
    x = noise(5, 100_000)
    before = torch.get_num_threads()
    try:
        for extractor in (LogMel(), LogMel(deltas=Deltas()), KaldiFbank(80, cmvn="utterance"), MFCC()):
            made = []
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                made.append(on("cpp", lambda extractor=extractor: extractor(x, lengths))[0])
            assert torch.equal(made[0], made[1]) and torch.equal(made[0], made[2])
    finally:
        torch.set_num_threads(before)


def test_company_and_stream_do_not_change_a_bit() -> None:
    lengths = torch.tensor([5000, 399, 1, 20_001, 12_345])
    x = noise(5, 20_001)
    for extractor in (LogMel(), KaldiFbank(80, snip_edges=False, cmvn="mean"), MFCC()):
        frames, counts = on("cpp", lambda extractor=extractor: extractor(x, lengths))
        for item, n in enumerate(lengths.tolist()):
            alone, _ = on(
                "cpp", lambda extractor=extractor, item=item, n=n: extractor(x[item : item + 1, :n], lengths[item : item + 1])
            )
            assert torch.equal(alone[0], frames[item, : counts[item]])
    plain = KaldiFbank(40)
    frames = on("cpp", lambda: plain(x, lengths))[0][3]
    assert torch.equal(torch.cat(on("cpp", lambda: list(plain.stream(lambda: iter(x[3].split(777)))))), frames)


def test_any_strides_and_alignment() -> None:
    lengths = torch.tensor([4000, 3001])
    x = noise(2, 4000)
    padded = torch.full((2, 4003), torch.nan)
    padded[:, 1:4001] = x
    apart = torch.zeros(4000, 6)
    apart[:, ::3] = x.t()
    for extractor in (LogMel(), KaldiFbank()):
        expected = on("cpp", lambda extractor=extractor: extractor(x, lengths))[0]
        for other in (padded[:, 1:4001], apart[:, ::3].t(), x[:, None].expand(2, 3, 4000)[:, 1]):
            made = on("cpp", lambda extractor=extractor, other=other: extractor(other, lengths))[0]
            torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)


def test_nothing_at_all() -> None:
    for extractor in (LogMel(), KaldiFbank(), MFCC(deltas=Deltas())):
        for shape in ((0, 1000), (2, 0), (2, 1000)):
            frames, counts = on(
                "cpp", lambda extractor=extractor, shape=shape: extractor(torch.zeros(shape), torch.zeros(shape[0]).long())
            )
            assert frames.shape == (shape[0], extractor.frame_count(shape[1]), extractor.dim)
            assert (frames == 0).all() and (counts == 0).all()


def test_a_sample_that_is_no_number_is_seen() -> None:
    x = noise(1, 4000)
    x[0, 2000] = torch.nan
    fast, slow = both(LogMel(loudness=None, cmvn=None), x, torch.tensor([4000]))
    assert torch.equal(fast.isnan(), slow.isnan()) and fast.isnan().any()


def test_lengths_beyond_the_signal_are_refused() -> None:
    with pytest.raises(UserError, match="a length of 11 samples; the waveform has 10: expected no more"):
        LogMel()(torch.zeros(1, 10), torch.tensor([11]))


@pytest.mark.parametrize("variance", [True, False])
@pytest.mark.parametrize("width", [1, 13, 16, 80])
def test_normalise(variance: bool, width: int) -> None:
    lengths = torch.tensor([300, 1, 0, 299])
    frames = noise(4, 300, width) * 100 + 50
    for item, length in zip(frames, lengths.tolist(), strict=True):
        item[length:] = 0
    fast = on("cpp", lambda: normalise(frames.clone(), lengths, variance=variance))
    slow = on("torch", lambda: normalise(frames.clone(), lengths, variance=variance))
    torch.testing.assert_close(fast, slow, atol=2e-4 if not variance else 5e-5, rtol=1e-5)


class Louder(LogMel):
    """A user's own feature."""

    def spectrum(self, frames: Tensor, tables: Tables) -> Tensor:
        """Ten more."""
        return super().spectrum(frames, tables) + 10


def test_what_the_kernel_does_not_know_is_left_to_torch() -> None:
    x, lengths = noise(1, 4000), torch.tensor([4000])
    for extractor in (LogMel(None, n_fft=418), LogMel(None, floor=0.0), Louder()):
        fast, slow = (on(backend, lambda extractor=extractor: extractor(x, lengths))[0] for backend in ("cpp", "torch"))
        assert extractor._plan == [None]
        torch.testing.assert_close(fast, slow, atol=1e-4, rtol=1e-4)


def test_copies_and_pickles() -> None:
    x, lengths = noise(1, 4000), torch.tensor([4000])
    extractor = MFCC()
    frames = on("cpp", lambda: extractor(x, lengths))[0]
    for other in (copy.deepcopy(extractor), pickle.loads(pickle.dumps(extractor))):
        assert torch.equal(on("cpp", lambda other=other: other(x, lengths))[0], frames)


CHECK = """
import os, torch
from sigssl.features import LogMel, KaldiFbank, MFCC, Deltas
x, lengths = torch.randn(4, 9000, generator=torch.Generator().manual_seed(0)) * 0.1, torch.tensor([9000, 0, 399, 7777])
for extractor in (LogMel(), KaldiFbank(40, snip_edges=False, use_energy=True), MFCC(), LogMel(None, n_fft=810)):
    made = []
    for backend in ("cpp", "torch"):
        os.environ["SIGSSL_FEATURES_BACKEND"] = backend
        made.append(extractor(x, lengths)[0])
    torch.testing.assert_close(*made, atol=1e-3, rtol=2e-4)
"""


@pytest.mark.parametrize("isa", list(build.levels()))
def test_every_instruction_set(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if list(build.levels()).index(isa) > list(build.levels()).index(library.load().isa):
        pytest.skip(f"this processor has no {isa}")
    monkeypatch.setenv(library.ISA, isa)
    subprocess.run([sys.executable, "-c", CHECK], check=True)


def test_backends_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cpp.VARIABLE, "torhc")
    with pytest.raises(UserError, match="'torch'"):
        cpp.kernels()
    monkeypatch.setattr(cpp, "missing", lambda: "no C++ compiler")
    monkeypatch.setenv(cpp.VARIABLE, "cpp")
    with pytest.raises(UserError, match="cannot run here: no C\\+\\+ compiler"):
        cpp.kernels()
    monkeypatch.setenv(cpp.VARIABLE, "auto")
    cpp._warn_slow.cache_clear()
    with pytest.warns(UserWarning, match="computed by torch, several times slower"):
        assert cpp.kernels() is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cpp.kernels() is None
