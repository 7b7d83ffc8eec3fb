"""TERA's loss on signals and on stored frames, its label, and a target of its own."""

from __future__ import annotations

import pytest
import torch

from sigssl.errors import UserError
from sigssl.features import KaldiFbank, LogMel
from sigssl.methods import TERA, FrameEncoder
from sigssl.nn import TransformerEncoder
from sigssl.types import Batch
from sigssl.views import Alter


def make(alter: Alter | None = None, **settings: object) -> TERA:
    torch.manual_seed(0)
    encoder = FrameEncoder(LogMel(), TransformerEncoder(80, dim=24, layers=2, heads=3, ffn=48))
    return TERA(encoder, alter or Alter(), **settings).eval()  # type: ignore[arg-type]


def signals(*samples: int) -> Batch:
    x = torch.randn(len(samples), 1, max(samples), generator=torch.Generator().manual_seed(1)) * 0.1
    return Batch(x, torch.tensor(samples), tuple(map(str, samples)), False, 16000)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_loss_is_the_mean_error_over_the_label() -> None:
    method, batch = make(), signals(16000, 9000)
    made, out = method.reconstruct(batch, rng()), method(batch, rng())
    expected = (made.prediction - made.original).abs()[made.label].mean()
    torch.testing.assert_close(out["loss"], expected)
    assert out["weight"] == made.label.sum()
    assert out["label_share"] == made.label.sum() / (made.lengths.sum() * 80)
    assert not made.label[1, int(made.lengths[1]) :].any()


@pytest.mark.parametrize("settings", [{"loss": "mse"}, {"mean": "utterance"}])
def test_options_change_the_loss(settings) -> None:
    batch = signals(16000, 9000)
    assert make(**settings)(batch, rng())["loss"] != make()(batch, rng())["loss"]


def test_stored_frames_give_the_same_loss() -> None:
    method, batch = make(), signals(16000, 9000)
    frames, lengths = method.encoder.frames(batch)
    frames = frames.clone()
    frames[1, lengths[1] :] = float("nan")
    stored = Batch(frames, lengths, batch.ids, True, 16000)
    assert torch.equal(method(stored, rng())["loss"], method(batch, rng())["loss"])


def test_noise_on_unlabelled_targets_leaves_the_loss() -> None:
    method = make()
    made = method.reconstruct(signals(16000), rng())
    from sigssl.objectives import masked_l1

    noisy = made.original + (~made.label) * torch.randn(made.original.shape)
    assert torch.equal(masked_l1(made.prediction, noisy, made.label), masked_l1(made.prediction, made.original, made.label))


def test_mockingjay_large_predicts_the_linear_spectrum() -> None:
    method = make(Alter(freq=0.0), target=LogMel(n_mels=None))
    made = method.reconstruct(signals(16000, 9000), rng())
    assert made.prediction.shape == made.original.shape == made.label.shape == (2, 101, 201)
    assert made.altered.shape == (2, 101, 80)
    assert method(signals(16000), rng())["loss"].isfinite()
    frames = Batch(made.altered, made.lengths, ("a", "b"), True, 16000)
    with pytest.raises(UserError, match="made from the signal"):
        method(frames, rng())


def test_targets_that_do_not_line_up_are_refused() -> None:
    with pytest.raises(UserError, match="does not frame the signal"):
        make(Alter(freq=0.0), target=KaldiFbank())
    with pytest.raises(UserError, match=r"set alter\.freq to 0"):
        make(target=LogMel(n_mels=None))
