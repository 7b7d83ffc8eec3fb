"""The frame network and the masked autoencoder: framing, averages at any rate, norms per place, positions."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sigssl.errors import UserError
from sigssl.native import library
from sigssl.nn import place_norm
from sigssl.nn.frame_norm import FrameBatchNorm
from sigssl.nn.framing import frame_starts, sliding_means, window_means
from sigssl.nn.mae import MaskedDecoder, MaskedEncoder, position_table
from sigssl.nn.resnet1d import FrameNetwork, Framing, convolved

SMALL = {"widths": [8, 8, 12, 16], "token_dim": 16}


@pytest.mark.parametrize(
    ("rate", "seconds", "hop", "frames"),
    [
        (100, 3, 0.375, 73),
        (100, 3, 1.5, 19),
        (100, 4, 1.0, 27),
        (125, 3, 0.375, 74),
        (128, 3, 0.375, 73),
        (200, 3, 0.75, 37),
        (256, 4, 1.0, 27),
    ],
)
def test_frames_of_the_reference(rate: int, seconds: int, hop: float, frames: int) -> None:
    """The table of counts by rate, window and hop."""
    assert len(frame_starts(30 * rate, seconds * rate, hop * rate, floor=True)) == frames


@pytest.mark.parametrize("rate", [100, 125, 128, 200, 256])
def test_frames_keep_to_the_clock(rate: int) -> None:
    """73 at every rate, the last one ending with the epoch, where the hop divides it."""
    starts = frame_starts(30 * rate, 3 * rate, 0.375 * rate)
    assert len(starts) == 73 and abs(starts[-1] + 3 * rate - 30 * rate) <= 1
    with pytest.raises(UserError, match="longer than the epoch"):
        frame_starts(100, 200, 10.0)


def test_averages_are_those_of_the_windows() -> None:
    """On a map as fine as the signal they are plain means over each bin; on a coarser one they weigh what is cut."""
    map = torch.randn(1, 40)
    got = map @ window_means([3.0, 11.0], 12.0, 3, 40, 1).T
    edge = F.interpolate(map[None].double(), scale_factor=1000, mode="nearest")[0, 0]  # position j covers j - 1/2 to j + 1/2
    means = [
        edge[round((s + b * 4 + 0.5) * 1000) : round((s + (b + 1) * 4 + 0.5) * 1000)].mean() for s in (3, 11) for b in range(3)
    ]
    torch.testing.assert_close(got[0].double(), torch.stack(means), rtol=1e-3, atol=1e-3)
    for stride in (4, 16):
        weights = window_means([0.0, 7.5, 200.0], 60.0, 4, 20, stride)
        torch.testing.assert_close(weights.sum(1), torch.ones(12))
        assert bool((weights >= 0).all())
    torch.testing.assert_close(sliding_means(16, 19) @ torch.arange(19.0), F.avg_pool1d(torch.arange(19.0)[None], 16, 1)[0])


def test_convolution_is_conv1d() -> None:
    x, conv = torch.randn(3, 6, 20), nn.Conv1d(6, 4, 5, 2, 2, bias=False)
    got = convolved(x[:, :, None].contiguous(memory_format=torch.channels_last), conv.weight, 2, 2)
    torch.testing.assert_close(got[:, :, 0], conv(x))


@pytest.mark.parametrize("framing", ["continuous", "frames"])
@pytest.mark.parametrize(
    ("rate", "seconds", "window", "hop", "channels"), [(100, 30, 3, 0.375, 1), (256, 4, 1, 0.5, 3), (128, 1, 0.25, 0.125, 2)]
)
def test_any_rate_window_and_channels(framing: Framing, rate: int, seconds: int, window: float, hop: float, channels: int) -> None:
    network = FrameNetwork(rate * seconds, round(window * rate), hop * rate, channels, norm="group", framing=framing, **SMALL)  # type: ignore[arg-type]
    x = torch.randn(2, channels, rate * seconds)
    tokens = network.eval()(x)
    assert tokens.shape == (2, network.frames, 16) and network.head[0].in_features == 16 * 8
    again = network(torch.cat([x[:1], torch.randn_like(x[1:])]))
    torch.testing.assert_close(again[0], tokens[0], msg="group norm: items do not depend on one another in training either")


@pytest.mark.parametrize("framing", ["continuous", "frames"])
def test_a_token_sees_its_window(framing: Framing) -> None:
    network = FrameNetwork(framing=framing, **SMALL).eval()  # type: ignore[arg-type]
    x = torch.randn(1, 1, 3000)
    changed = x.clone()
    changed[..., 2000:2050] += 1.0
    moved = (network(x) - network(changed)).abs().amax((0, 2)) > 1e-6
    inside = torch.tensor([start < 2050 and start + 300 > 2000 for start in network.starts])
    assert bool(moved[inside].all())
    reach = 160 if framing == "continuous" else 0  # beyond the edges, through the convolutions
    outside = torch.tensor([start - reach >= 2050 or start + 300 + reach <= 2000 for start in network.starts])
    assert not moved[outside].any()


@pytest.mark.parametrize("channels", [4, 48], ids=["torch", "C++"])
def test_a_norm_for_each_place_is_the_loop_over_places(channels: int) -> None:
    places, batch, length = 5, 3, 7
    assert place_norm.runs(torch.zeros(1, channels, 1, 1)) == (channels == 48 and not library.missing())
    x = torch.randn(places * batch, channels, 1, length).to(memory_format=torch.channels_last).requires_grad_()
    ours, plain = FrameBatchNorm(channels, places), nn.BatchNorm1d(channels)
    with torch.no_grad():
        ours.weight.copy_(torch.randn(channels))
        ours.bias.copy_(torch.randn(channels))
    plain.load_state_dict(ours.state_dict())
    upper = torch.randn(places * batch, channels, 1, length)
    y = ours(x)
    y.backward(upper)
    mine, x.grad = x.grad, None
    loop = torch.cat([plain(part[:, :, 0])[:, :, None] for part in x.split(batch)])
    loop.backward(upper)
    torch.testing.assert_close(y, loop)
    torch.testing.assert_close(mine, x.grad, rtol=1e-4, atol=1e-5)
    assert ours.weight.grad is not None and plain.weight.grad is not None and ours.bias.grad is not None
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.bias.grad, plain.bias.grad)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    torch.testing.assert_close(ours.eval()(x), plain.eval()(x[:, :, 0])[:, :, None])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("longer", [None, 0, 3], ids=["alone", "shortcut", "cut shortcut"])
def test_norm_shortcut_and_elu_in_one_kernel_are_the_three_in_turn(
    longer: int | None, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    places, batch, channels, length = 3, 5, 32, 71
    x = torch.randn(places * batch, channels, 1, length).to(dtype).to(memory_format=torch.channels_last).requires_grad_()
    shortcut = None if longer is None else torch.randn(places * batch, channels, 1, length + longer).to(dtype).requires_grad_()
    norm = FrameBatchNorm(channels, places)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    wanted = [x, norm.weight, norm.bias, *([] if shortcut is None else [shortcut])]
    upper, found = torch.randn(x.shape).to(dtype), []
    for runs in (place_norm.runs, lambda x: False):
        monkeypatch.setattr(place_norm, "runs", runs)
        y = norm.activated(x, shortcut)
        found.append((y.detach(), *torch.autograd.grad(y, wanted, upper)))
    for mine, plain in zip(*found, strict=True):
        scale = float(plain.abs().max())
        torch.testing.assert_close(mine, plain, rtol=0, atol=scale * (1e-5 if dtype == torch.float32 else 0.02))


@torch.no_grad()
def test_positions_tell_frames_apart() -> None:
    table = position_table(73, 512, "sincos1d")
    assert int((table == table[0]).all(0).sum()) == 0 and len(table.unique(dim=0)) == 73
    torch.manual_seed(0)
    encoder = MaskedEncoder(16, 10, 32, 4, 1)
    tokens = torch.randn(2, 10, 16)
    order = torch.randperm(10)
    assert float((encoder(tokens).mean(1) - encoder(tokens[:, order]).mean(1)).abs().max()) > 1e-3
    flat = MaskedEncoder(16, 10, 32, 4, 1)
    with torch.no_grad():
        flat.positions.zero_()
    torch.testing.assert_close(flat(tokens).mean(1), flat(tokens[:, order]).mean(1), msg="the check above can fail")


def test_only_kept_tokens_are_seen_and_the_decoder_puts_them_back() -> None:
    torch.manual_seed(0)
    encoder, decoder = MaskedEncoder(16, 10, 32, 4, 2), MaskedDecoder(32, 10, 16, 4, 1, 5)
    tokens, keep = torch.randn(2, 10, 16), torch.tensor([[1, 4, 7], [0, 2, 9]])
    spoilt = tokens.clone()
    masked = torch.ones(2, 10, dtype=torch.bool).scatter(1, keep, False)
    spoilt[masked] = float("nan")
    assert torch.equal(encoder(spoilt, keep), encoder(tokens, keep))
    states = encoder(tokens, keep)
    assert states.shape == (2, 4, 32) and decoder(states[:, 1:], keep).shape == (2, 10, 5)
    every = torch.arange(10).expand(2, -1)
    torch.testing.assert_close(encoder(tokens, every), encoder(tokens))
    torch.testing.assert_close(encoder.states(tokens)[-1], encoder(tokens))


def test_sizes_that_do_not_fit_are_told() -> None:
    with pytest.raises(UserError, match="multiple of 3 heads"):
        MaskedEncoder(dim=32, heads=3)
    with pytest.raises(UserError, match="odd kernels"):
        FrameNetwork(kernels=[2, 4, 6])
    with pytest.raises(UserError, match="too short"):
        FrameNetwork(window=100, framing="reference")
