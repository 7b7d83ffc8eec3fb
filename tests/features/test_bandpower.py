"""Band powers against scipy's Welch and MNE's filter, and streaming against the whole night."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import signal as scipy_signal

from sigssl.config import build, describe
from sigssl.errors import UserError
from sigssl.features import BandPower
from sigssl.features.bandpower import BANDS, bandpass_taps, median_bias, middle

LOW = (30.0, 30.0, 15.0)


@pytest.fixture(scope="module")
def night() -> np.ndarray:
    rng = np.random.default_rng(0)
    drift = rng.standard_normal((3, 12 * 3000)).cumsum(1)
    return (3 * drift + 20 * rng.standard_normal((3, 12 * 3000))).astype(np.float32)


def expected(filtered: np.ndarray) -> np.ndarray:
    """The data set's features from filtered signals, with scipy."""
    z = (filtered - filtered.mean(1, keepdims=True)) / filtered.std(1, keepdims=True)
    epochs = z.reshape(3, -1, 3000).transpose(1, 0, 2)
    frequencies, density = scipy_signal.welch(epochs, 100, "hamming", 400, 200, 400, "constant", True, "density", -1, "median")
    power = []
    for _, low, high in BANDS:
        inside = (frequencies >= low) & (frequencies <= high)
        power.append(np.trapezoid(density[..., inside], frequencies[inside], axis=-1))
    powers = np.stack(power, -1)
    return np.concatenate([np.log(powers + 1e-10), powers / powers.sum(-1, keepdims=True)], -1).reshape(len(epochs), 30)


def test_features_are_scipys(night: np.ndarray) -> None:
    module = BandPower()
    filtered = module.filter(torch.from_numpy(night)).numpy().astype(np.float64)
    got = module(torch.from_numpy(night)).numpy()
    assert got.shape == (12, 30) and module.dim == 30
    np.testing.assert_allclose(got, expected(filtered), atol=2e-5)


@pytest.mark.parametrize("high", [30.0, 15.0])
def test_filter_is_mnes(night: np.ndarray, high: float) -> None:
    filters = pytest.importorskip("mne.filter")
    wanted = filters.create_filter(None, 100.0, 0.5, high, verbose="error")
    np.testing.assert_allclose(bandpass_taps(100, 0.5, high), wanted, atol=1e-12)
    got = BandPower().filter(torch.from_numpy(night)).numpy()
    theirs = filters.filter_data(night.astype(np.float64), 100.0, 0.5, high, pad="reflect_limited", verbose="error")
    np.testing.assert_allclose(got[LOW.index(high)], theirs[LOW.index(high)], atol=2e-3)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9, 14, 15, 29])
def test_median_and_its_bias(count: int) -> None:
    x = np.random.default_rng(count).standard_normal((count, 7)).astype(np.float32)
    np.testing.assert_allclose(middle(list(torch.from_numpy(x))).numpy(), np.median(x, axis=0), rtol=1e-6)
    bias = 1.0 + sum(1 / (2 * k + 1) - 1 / (2 * k) for k in range(1, (count - 1) // 2 + 1))
    assert median_bias(count) == pytest.approx(bias)


def test_volts_and_microvolts_give_the_same_z_scored_features(night: np.ndarray) -> None:
    x = torch.from_numpy(night)
    torch.testing.assert_close(BandPower()(x), BandPower()(7.5 * x), atol=1e-4, rtol=1e-4)


def test_streaming_with_the_running_scale_is_the_whole_night(night: np.ndarray) -> None:
    module, x = BandPower(scale="running"), torch.from_numpy(night)
    state, rows = None, []
    for epoch in x.split(3000, dim=1):
        row, state = module.step(epoch, state)
        rows.append(row)
    torch.testing.assert_close(torch.stack(rows), module(x), atol=1e-4, rtol=1e-4)
    changed = x.clone()
    changed[:, 5 * 3000 :] += 100 * torch.randn(3, 7 * 3000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(module(changed)[:5], module(x)[:5])  # nothing of the future is used


@pytest.mark.parametrize("scale", ["median", "running"])
def test_stored_features_take_another_scale(night: np.ndarray, scale: str) -> None:
    """Units that follow the powers do not depend on the z-score that was there before."""
    x = torch.from_numpy(night)
    other = BandPower(scale=scale)  # type: ignore[arg-type]
    powers = other.powers(other.cut(other.filter(x)))
    wanted = other.features(powers)
    torch.testing.assert_close(other.rescale(BandPower()(x)), wanted, atol=1e-4, rtol=1e-4)


def test_other_rates_lengths_and_channels() -> None:
    module = BandPower(sample_rate=128, epoch_seconds=20.0, lowpass=[30.0])
    assert module(torch.randn(1, 128 * 65)).shape == (3, 10) and module.dim == 10
    assert describe(build(describe(module))) == describe(module)
    with pytest.raises(UserError, match="less than one epoch"):
        module(torch.randn(1, 100))
    with pytest.raises(UserError, match="channels"):
        module(torch.randn(2, 128 * 65))
    with pytest.raises(UserError, match="60 Hz"):
        BandPower(sample_rate=50)


def test_a_flat_channel_gives_finite_features() -> None:
    x = torch.zeros(3, 9000)
    x[0] = torch.randn(9000)
    assert BandPower()(x).isfinite().all() and BandPower(scale="running")(x).isfinite().all()
