"""NeuroNet in its corrected default: gradients of the targets, invariances, batches of one, both contracts of its encoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sigssl.config import build, describe
from sigssl.data.scaling import RobustScaler
from sigssl.errors import UserError
from sigssl.methods import NeuroNet, NeuroNetEncoder
from sigssl.types import Batch, Encoder, EpochEncoder
from sigssl.views import TokenMask

SMALL: dict[str, Any] = {
    "sample_rate": 50,
    "epoch_seconds": 6.0,
    "frame_seconds": 1.0,
    "hop_seconds": 0.5,
    "widths": [8, 8, 8, 8],
    "token_dim": 16,
    "dim": 32,
    "heads": 2,
    "depth": 2,
}


def method(encoder: dict[str, Any] | None = None, **changes: Any) -> NeuroNet:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"decoder_dim": 16, "decoder_heads": 2, "projector": [24, 16]}
    return NeuroNet(NeuroNetEncoder(**SMALL | (encoder or {})), TokenMask(0.6), **sizes | changes)


def batch(items: int = 6, channels: int = 1, **places: Any) -> Batch:
    x = torch.randn(items, channels, 300, generator=torch.Generator().manual_seed(1))
    return Batch(x, torch.full((items,), 300), tuple(map(str, range(items))), False, 50, **places)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def test_default_sizes_are_the_papers() -> None:
    """The corrections change no count: 73 frames, 512 averages, 256 values per token."""
    with torch.device("meta"):
        encoder = NeuroNetEncoder()
        whole = NeuroNet(encoder, TokenMask())
    assert encoder.frames == 73 and sum(p.numel() for p in whole.parameters()) == 14_880_640
    assert sum(p.numel() for p in encoder.frame_network.parameters()) == 440_576


def test_no_gradient_flows_through_the_target() -> None:
    """With the prediction cut off, only a live target still reaches the frame network."""
    for target, reaches in (("frame_token", False), ("frame_token_live", True)):
        made = method(target=target)
        tokens = made.encoder.tokens(batch().x)
        wanted = made.targets(batch().x, tokens)
        assert wanted.requires_grad is reaches
    made = method(alpha=0.0)
    tokens = torch.randn(6, made.encoder.frames, 16, requires_grad=True)
    made.encoder.body.embed.requires_grad_(False).weight.zero_()  # nothing else can carry it
    made.encoder.tokens = lambda x: tokens  # type: ignore[method-assign,assignment]
    made(batch(), rng())["loss"].backward()
    assert tokens.grad is not None and not tokens.grad.any()


@pytest.mark.parametrize("target", ["frame_token", "frame_token_live", "raw_patch", "log_spectrum"])
@pytest.mark.parametrize("channels", [1, 2])
def test_targets(target: str, channels: int) -> None:
    made = method({"channels": channels}, target=target)
    wanted = made.targets(batch(channels=channels).x, made.encoder.tokens(batch(channels=channels).x))
    assert wanted.shape == (6, made.encoder.frames, made.target_dim)
    if target != "frame_token_live":
        torch.testing.assert_close(wanted.mean(2), torch.zeros(wanted.shape[:2]), atol=1e-5, rtol=0)
        torch.testing.assert_close(wanted.var(2, correction=0), torch.ones(wanted.shape[:2]), atol=1e-2, rtol=0)
    out = made(batch(channels=channels), rng())
    out["loss"].backward()
    assert out["loss"].isfinite() and float(out["weight"]) == 6.0


@pytest.mark.parametrize("changes", [{"contrast": "dcl"}, {"exclude_neighbours": 1}, {"view_norms": "apart"}, {"alpha": 0.5}])
def test_options_of_the_contrast(changes: dict[str, Any]) -> None:
    places = {"recording": torch.tensor([0, 0, 0, 1, 1, 1]), "epoch": torch.tensor([0, 1, 2, 0, 4, 5])}
    plain, other = method()(batch(**places), rng()), method(**changes)(batch(**places), rng())
    assert plain["loss"].item() != other["loss"].item()
    torch.testing.assert_close(plain["reconstruction"], other["reconstruction"])


def test_neighbours_need_nights() -> None:
    with pytest.raises(UserError, match="stored nights"):
        method(exclude_neighbours=1)(batch(), rng())


@pytest.mark.parametrize("training", [True, False])
def test_a_batch_of_one(training: bool) -> None:
    made = method().train(training)
    assert made(batch(1), rng())["loss"].isfinite()
    assert made.eval().encoder(batch(1).x).shape == (1, 32)


def test_items_and_frames() -> None:
    """In eval mode an item depends on no other; where a piece of signal stands in the epoch matters."""
    encoder = method().encoder.eval()
    x = batch().x
    alone, together = encoder(x[:1]), encoder(x)
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)
    tokens = encoder.tokens(x)
    order = torch.randperm(encoder.frames)
    mixed = encoder.pooled(encoder.body(tokens[:, order]))
    assert (mixed - together).abs().max().item() > 1e-3
    assert not torch.equal(encoder.pooled(encoder.body(tokens)), encoder.body(tokens)[:, 0])


def test_unit_and_offset_do_not_matter_behind_the_scaler() -> None:
    signal = torch.randn(1, 1500, generator=rng()) * 40 + 3
    encoder = method().encoder.eval()
    volts = signal * 1e-6
    torch.testing.assert_close(encoder.epochs(signal), encoder.epochs(volts), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(encoder.epochs(signal), encoder.epochs(signal + 100), rtol=1e-3, atol=1e-3)
    assert (encoder(signal[None, :, :300]) - encoder(volts[None, :, :300])).abs().max().item() > 1e-2, "without it they do"


def test_scaler() -> None:
    signal = torch.randn(2, 1001) * 7 + 5
    scaled = RobustScaler(None)(signal)
    torch.testing.assert_close(scaled.median(1).values, torch.zeros(2), atol=1e-5, rtol=0)
    low, high = scaled.quantile(torch.tensor([0.25, 0.75]), 1)
    torch.testing.assert_close(high - low, torch.ones(2))
    signal[0, 3] = 1e6
    assert float(RobustScaler(20.0)(signal).max()) == 20.0
    assert torch.equal(RobustScaler()(torch.full((1, 9), 4.0)), torch.zeros(1, 9))
    for bad in (torch.zeros(1, 0), torch.tensor([[1.0, float("nan")]])):
        with pytest.raises(UserError):
            RobustScaler()(bad)


def test_both_contracts_of_the_encoder() -> None:
    encoder = method().encoder.eval()
    assert isinstance(encoder, EpochEncoder) and isinstance(encoder, Encoder)
    signal = torch.randn(1, 750, generator=rng()) * 50
    hidden = encoder(signal[None], torch.tensor([750]))
    frames = encoder.frames
    assert len(hidden.states) == encoder.num_layers + 1 and hidden.lengths.tolist() == [2 * frames + 6]
    vectors = encoder.epochs(signal)
    means = hidden.states[-1][0, : 2 * frames].unflatten(0, (2, frames)).mean(1)
    torch.testing.assert_close(vectors, means, rtol=1e-4, atol=1e-5)
    pieces = list(encoder.stream(lambda: iter(signal[0].split(100))))
    streamed = [torch.cat(layer) for layer in zip(*pieces, strict=True)]
    for one, other in zip(streamed, hidden.states, strict=True):
        torch.testing.assert_close(one, other[0])


def test_parts_to_train() -> None:
    encoder = method().encoder
    assert encoder.trainable("frozen") == []
    last = sum(p.numel() for p in encoder.trainable("last_block"))
    assert last == sum(p.numel() for p in encoder.body.blocks[-1].parameters()) + 64
    assert all(p.requires_grad for p in encoder.trainable("full"))
    assert encoder.body.positions.requires_grad is False


def test_config_round_trip_and_messages() -> None:
    made = method({"scaler": RobustScaler(5.0), "pool": "cls"})
    again = build(describe(made))
    assert describe(again) == describe(made) and again.encoder.scaler.clip == 5.0
    with pytest.raises(UserError, match="epochs of 300 samples"):
        made.encoder(torch.zeros(1, 1, 299))
    with pytest.raises(UserError, match=r"1 channel\(s\), the signal has 2"):
        made.encoder(torch.zeros(1, 2, 300))
    with pytest.raises(UserError, match="crop_seconds"):
        made(Batch(torch.zeros(2, 1, 301), torch.tensor([301, 301]), ("a", "b"), False, 50), rng())
    with pytest.raises(UserError, match="two widths"):
        method(projector=[8])
