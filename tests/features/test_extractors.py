"""What every feature promises: padding, independence, lengths, precision, configuration, streaming."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sigssl.config import build, describe
from sigssl.errors import UserError
from sigssl.features import MFCC, Deltas, Extractor, GlobalCMVN, KaldiFbank, LogMel
from sigssl.features.spectral import full_precision

MAKERS: dict[str, Callable[[], Extractor]] = {
    "LogMel": LogMel,
    "LogMel 8 kHz": lambda: LogMel(sample_rate=8000),
    "LogMel linear": lambda: LogMel(None, cmvn="mean"),
    "LogMel deltas": lambda: LogMel(20, deltas=Deltas(2, 2, "each"), n_fft=512),
    "LogMel global": lambda: LogMel(3, cmvn=GlobalCMVN([-10.0, -9.0, -8.0], [1.0, 2.0, 3.0])),
    "KaldiFbank": KaldiFbank,
    "KaldiFbank deltas": lambda: KaldiFbank(40, snip_edges=False, deltas=Deltas(), cmvn="utterance", use_energy=True),
    "MFCC": MFCC,
    "MFCC s3prl": lambda: MFCC(scale=1.0, use_energy=False, deltas=Deltas(edges="each"), cmvn="utterance", snip_edges=False),
}


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return noise(7, 6000), torch.tensor([6000, 5123, 1, 400, 0, 199, 2001])


@pytest.fixture(params=list(MAKERS))
def extractor(request: pytest.FixtureRequest) -> Extractor:
    return MAKERS[request.param]()


@pytest.fixture(params=["processor", "device"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of computing a batch; an accelerator's runs on the processor too."""
    if request.param == "device":
        monkeypatch.setattr(Extractor, "_on_processor", Extractor._on_device)
    return request.param


def test_padding_is_never_used(extractor: Extractor, path: str) -> None:
    x, lengths = batch()
    dirty = x.clone()
    for item, length in zip(dirty, lengths.tolist(), strict=True):
        item[length:] = torch.nan
    frames, counts = extractor(dirty, lengths)
    assert frames.dtype == torch.float32 and torch.isfinite(frames).all()
    assert torch.equal(frames, extractor(x, lengths)[0])
    assert counts.tolist() == [extractor.frame_count(n) for n in lengths.tolist()]
    assert torch.equal(counts, extractor.frame_count(lengths))
    for item, count in zip(frames, counts.tolist(), strict=True):
        assert (item[count:] == 0).all()


def test_an_item_is_the_same_alone_and_in_any_company(extractor: Extractor, path: str) -> None:
    x, lengths = batch()
    frames, counts = extractor(x, lengths)
    other = noise(7, 6000, seed=1)
    other[1] = x[1]
    assert torch.equal(extractor(other, lengths)[0][1], frames[1])
    for item, length in enumerate(lengths.tolist()):
        alone, count = extractor(x[item : item + 1, :length], lengths[item : item + 1])
        assert count[0] == counts[item]
        torch.testing.assert_close(alone[0], frames[item, : counts[item]], atol=2e-4, rtol=1e-4)


def test_processor_and_device_agree(extractor: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    x, lengths = batch()
    frames, _ = extractor(x, lengths)
    monkeypatch.setattr(Extractor, "_on_processor", Extractor._on_device)
    torch.testing.assert_close(extractor(x, lengths)[0], frames, atol=2e-4, rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(list(MAKERS)), sizes=st.lists(st.integers(0, 1500), min_size=1, max_size=12))
def test_stream_gives_the_same_frames(name: str, sizes: list[int]) -> None:
    extractor = MAKERS[name]()
    signal = noise(sum(sizes), seed=len(sizes))

    def blocks() -> Iterator[torch.Tensor]:
        yield from signal.split(sizes)

    expected, counts = extractor(signal[None], torch.tensor([len(signal)]))
    parts = list(extractor.stream(blocks))
    streamed = torch.cat(parts) if parts else torch.empty(0, extractor.dim)
    assert len(streamed) == counts[0] == extractor.frame_count(len(signal))
    torch.testing.assert_close(streamed, expected[0], atol=2e-4, rtol=1e-4)


def test_stream_of_long_blocks_and_silence(extractor: Extractor) -> None:
    for signal in (noise(100_000), torch.zeros(100_000), torch.full((100_000,), 0.5)):
        expected, _ = extractor(signal[None], torch.tensor([100_000]))
        assert torch.isfinite(expected).all()
        streamed = torch.cat(list(extractor.stream(lambda signal=signal: iter(signal.split(99_991)))))  # type: ignore[misc]
        if signal.std():
            torch.testing.assert_close(streamed, expected[0], atol=2e-4, rtol=1e-4)


def test_float32_under_autocast_and_reduced_products(extractor: Extractor) -> None:
    x, lengths = batch()
    frames, _ = extractor(x, lengths)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", torch.bfloat16):
            lower, _ = extractor(x, lengths)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(lower, frames)
    assert extractor(x.to(torch.float64), lengths)[0].dtype == torch.float32


def test_full_precision_restores_what_the_user_allows() -> None:
    try:
        torch.set_float32_matmul_precision("high")
        with full_precision(torch.device("cpu")):
            assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"  # type: ignore[attr-defined]
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_no_state_and_no_gradient(extractor: Extractor) -> None:
    assert not extractor.state_dict() and not list(extractor.parameters())
    x, lengths = batch()
    assert not extractor(x.requires_grad_(), lengths)[0].requires_grad


def test_configuration_round_trip(extractor: Extractor) -> None:
    config = describe(extractor)
    assert config["class_path"] == f"sigssl.features.{type(extractor).__name__}"
    again = build(config)
    assert describe(again) == config
    x, lengths = batch()
    assert torch.equal(again(x, lengths)[0], extractor(x, lengths)[0])


def test_many_items_are_packed_over_chunks() -> None:
    lengths = torch.arange(0, 40_000, 977)
    x = noise(len(lengths), 40_000)
    frames, counts = LogMel()(x, lengths)
    for item in range(0, len(lengths), 7):
        alone, _ = LogMel()(x[item : item + 1, : lengths[item]], lengths[item : item + 1])
        torch.testing.assert_close(frames[item, : counts[item]], alone[0], atol=2e-4, rtol=1e-4)


def test_one_frame_and_constant_dimensions_become_zero() -> None:
    frames, counts = LogMel()(noise(1, 100), torch.tensor([100]))
    assert counts.tolist() == [1] and (frames == 0).all()
    frames, _ = LogMel()(torch.zeros(1, 4000), torch.tensor([4000]))
    assert (frames == 0).all()


def test_loudness_does_not_depend_on_the_level() -> None:
    x = noise(1, 16000)
    quiet = LogMel(cmvn=None)(x * 0.01, torch.tensor([16000]))[0]
    torch.testing.assert_close(quiet, LogMel(cmvn=None)(x, torch.tensor([16000]))[0], atol=1e-4, rtol=1e-4)


def test_dither_comes_from_the_generator() -> None:
    x, lengths = batch()
    fbank = KaldiFbank(dither=1.0)
    first, again, other = (fbank(x, lengths, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    torch.testing.assert_close(first, KaldiFbank()(x, lengths)[0], atol=0.5, rtol=0.05)
    with pytest.raises(UserError, match="dither 1 cannot be streamed"):
        fbank.stream(lambda: iter([x[0]]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogMel(128, n_fft=400), "mel filters fall between the bins of a 400-point transform at 16000 Hz"),
        (lambda: KaldiFbank(128), "Take fewer filters"),
        (lambda: LogMel(high_hz=9000.0), "0 <= low < high <= 8000"),
        (lambda: LogMel(n_fft=256), "at least the window's 400 samples"),
        (lambda: KaldiFbank(window_type="kaiser"), "expected one of hann, hamming"),
        (lambda: MFCC(n_ceps=24), "1 to n_mels = 23"),
        (lambda: LogMel(hop_ms=0.0), "hop of 0 samples"),
        (lambda: Deltas(0), "order 0"),
    ],
)
def test_settings_that_make_no_sense(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


CONFS = [p for p in sorted((Path(__file__).parents[2] / "recipes" / "conf" / "features").glob("*.yaml")) if p.stem != "eeg"]


@pytest.mark.parametrize("path", CONFS, ids=[conf.stem for conf in CONFS])
def test_shipped_configurations(path: Path) -> None:
    made = build(yaml.safe_load(path.read_text(encoding="utf-8"))["features"], where=str(path))
    frames, counts = made(noise(1, 16000), torch.tensor([16000]))
    assert frames.shape[2] == made.dim == {"logmel": 80, "fbank": 80, "mfcc": 39}[path.stem] and counts[0] >= 98
