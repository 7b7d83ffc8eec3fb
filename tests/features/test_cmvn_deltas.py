"""Derivatives and normalisation against slow loops and other libraries."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sigssl.errors import UserError
from sigssl.features import Deltas, GlobalCMVN, LogMel, normalise

functional = pytest.importorskip("torchaudio.functional", exc_type=ImportError)


def frames(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3 + 5


def kaldi_deltas(x: np.ndarray, order: int, window: int) -> np.ndarray:
    """Kaldi's DeltaFeatures, as written there: scales of each order by convolution, then clamped frames."""
    scales = [np.ones(1)]
    for _ in range(order):
        last = scales[-1]
        new, norm = np.zeros(len(last) + 2 * window), 0.0
        for j in range(-window, window + 1):
            norm += j * j
            for k in range(len(last)):
                new[j + k + window] += j * last[k]
        scales.append(new / norm)
    out = np.zeros((len(x), x.shape[1] * (order + 1)))
    for t in range(len(x)):
        for i, scale in enumerate(scales):
            reach = (len(scale) - 1) // 2
            for j in range(-reach, reach + 1):
                source = x[min(max(t + j, 0), len(x) - 1)]
                out[t, i * x.shape[1] : (i + 1) * x.shape[1]] += scale[j + reach] * source
    return out


@pytest.mark.parametrize(("order", "window"), [(1, 2), (2, 2), (3, 1), (2, 3)])
def test_deltas_as_kaldi_takes_them(order: int, window: int) -> None:
    x, lengths = frames(3, 20, 4), torch.tensor([20, 7, 1])
    wide = Deltas(order, window)(x, lengths)
    for item, length in enumerate(lengths.tolist()):
        expected = torch.from_numpy(kaldi_deltas(x[item, :length].numpy(), order, window)).float()
        torch.testing.assert_close(wide[item, :length], expected, atol=1e-5, rtol=1e-5)


def test_deltas_as_torchaudio_takes_them() -> None:
    x, lengths = frames(2, 30, 4), torch.tensor([30, 11])
    wide = Deltas(2, 2, "each")(x, lengths)
    for item, length in enumerate(lengths.tolist()):
        first = functional.compute_deltas(x[item, :length].T, win_length=5)
        second = functional.compute_deltas(first, win_length=5)
        expected = torch.cat([x[item, :length].T, first, second]).T
        torch.testing.assert_close(wide[item, :length], expected, atol=1e-5, rtol=1e-5)
        assert (wide[item, length:, 4:] == 0).all()


def test_utterance_normalisation() -> None:
    x, lengths = frames(3, 20, 4), torch.tensor([20, 7, 0])
    for item, length in enumerate(lengths.tolist()):
        x[item, length:] = 0
    for variance in (True, False):
        got = normalise(x.clone(), lengths, variance=variance)
        for item, length in enumerate(lengths.tolist()[:2]):
            valid = x[item, :length]
            expected = valid - valid.mean(0)
            expected = expected / valid.std(0) if variance else expected
            torch.testing.assert_close(got[item, :length], expected, atol=1e-5, rtol=1e-5)
            assert (got[item, length:] == 0).all()


def test_statistics_of_a_corpus() -> None:
    x = frames(100, 4)
    stats = np.stack([np.append(x.double().sum(0), 100), np.append(x.double().square().sum(0), 0)])
    got = GlobalCMVN.from_stats(stats)(torch.stack([x, x]), torch.tensor([100, 40]))
    torch.testing.assert_close(got[0].mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(got[0].std(0, correction=0), torch.ones(4), atol=1e-5, rtol=0)
    assert (got[1, 40:] == 0).all() and torch.equal(got[1, :40], got[0, :40])
    centred = GlobalCMVN.from_stats(stats, variance=False)
    assert centred.std is None
    torch.testing.assert_close(centred.apply_to(x), x - x.mean(0), atol=1e-5, rtol=0)


def test_statistics_that_do_not_fit() -> None:
    with pytest.raises(UserError, match="hold no frames"):
        GlobalCMVN.from_stats(np.zeros((2, 4)))
    with pytest.raises(UserError, match="the features have 5"):
        GlobalCMVN([0.0, 0.0]).apply_to(frames(2, 5))
    with pytest.raises(UserError, match="2 means, 1 standard"):
        GlobalCMVN([0.0, 0.0], [1.0])
    with pytest.raises(UserError, match="LogMel: cmvn has statistics of 2 dimensions; the features have 40"):
        LogMel(20, deltas=Deltas(1), cmvn=GlobalCMVN([0.0, 0.0]))
