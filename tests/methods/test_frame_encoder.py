"""FrameEncoder: windows, streaming, lengths, refusals."""

from __future__ import annotations

import pytest
import torch

import sigssl.config
from sigssl.errors import UserError
from sigssl.features import KaldiFbank, LogMel
from sigssl.methods import FrameEncoder
from sigssl.nn import TransformerEncoder
from sigssl.types import Batch, Encoder


def make(window: int = 50, overlap: int = 20, layers: int = 2) -> FrameEncoder:
    torch.manual_seed(0)
    body = TransformerEncoder(80, dim=12, layers=layers, heads=3, ffn=24)
    return FrameEncoder(LogMel(), body, window=window, overlap=overlap).eval()


def signal(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * 0.1


def test_is_an_encoder_and_says_how_it_was_made() -> None:
    encoder = make()
    assert isinstance(encoder, Encoder)
    assert (encoder.dim, encoder.num_layers, encoder.hop, encoder.sample_rate) == (12, 2, 160, 16000)
    again = sigssl.config.build(sigssl.config.describe(encoder))
    again.load_state_dict(encoder.state_dict())
    x, n = signal(4000)[None, None], torch.tensor([4000])
    assert torch.equal(again.eval()(x, n).states[-1], encoder(x, n).states[-1])


def windows(length: int, window: int, overlap: int) -> list[tuple[int, int, int]]:
    """(begin, end, first frame kept) by the book: as many windows as it takes to reach the end."""
    made = [(0, min(window, length), 0)]
    while made[-1][1] < length:
        begin = made[-1][0] + window - overlap
        made.append((begin, min(begin + window, length), begin + overlap // 2))
    return made


@pytest.mark.parametrize(("window", "overlap"), [(50, 20), (50, 7), (50, 0), (8, 7)])
@pytest.mark.parametrize("length", [49, 50, 51, 80, 81, 137])
@torch.no_grad()
def test_windows_equal_the_loop(length, window, overlap) -> None:
    encoder = make(window, overlap)
    frames = torch.randn(1, length, 80)
    expected = torch.zeros(length, 12)
    for begin, end, first in windows(length, window, overlap):
        part = encoder.body(frames[:, begin:end], torch.tensor([end - begin]))[-1][0]
        expected[first:end] = part[first - begin :]
    torch.testing.assert_close(encoder.encode(frames, torch.tensor([length])).states[-1][0], expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_windows_of_a_batch_do_not_depend_on_neighbours() -> None:
    encoder = make()
    lengths = torch.tensor([137, 20, 51, 80, 81])
    frames = torch.randn(5, 137, 80)
    frames[torch.arange(137) >= lengths[:, None]] = float("nan")
    batch = encoder.encode(frames, lengths)
    for i, n in enumerate(lengths.tolist()):
        alone = encoder.encode(frames[i : i + 1, :n], lengths[i : i + 1])
        for a, b in zip(batch.states, alone.states, strict=True):
            torch.testing.assert_close(a[i, :n], b[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("samples", [1, 3000, 7999, 8000, 20000, 50001])
@torch.no_grad()
def test_stream_equals_forward(samples: int) -> None:
    encoder = make()
    wave = signal(samples)
    whole = encoder(wave[None, None], torch.tensor([samples]))
    pieces = list(encoder.stream(lambda: iter(wave.split(1234))))
    for layer, state in enumerate(whole.states):
        joined = torch.cat([p[layer] for p in pieces])
        assert joined.shape == state[0].shape
        torch.testing.assert_close(joined, state[0], rtol=0, atol=1e-4)
    assert max(len(p[0]) for p in pieces) <= encoder.window


def test_windows_carry_gradients() -> None:
    encoder = make(layers=1)
    encoder.encode(torch.randn(2, 120, 80), torch.tensor([120, 60])).states[-1].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


@torch.no_grad()
def test_batches_of_signals_and_of_stored_frames_agree() -> None:
    encoder = make()
    x, n = signal(4000)[None, None], torch.tensor([4000])
    frames, counts = encoder.frames(x, n)
    for batch in (Batch(x, n, ("a",), False, 16000), Batch(frames, counts, ("a",), True, 16000)):
        got, lengths = encoder.frames(batch)
        assert torch.equal(got, frames) and torch.equal(lengths, counts)


@torch.no_grad()
def test_a_signal_too_short_for_one_frame_gives_none() -> None:
    body = TransformerEncoder(23, dim=12, layers=2, heads=3, ffn=24)
    encoder = FrameEncoder(KaldiFbank(), body).eval()
    hidden = encoder(signal(300)[None, None], torch.tensor([300]))
    assert hidden.lengths.tolist() == [0] and [s.shape for s in hidden.states] == [(1, 0, 12)] * 3
    assert not list(encoder.stream(lambda: iter([signal(300)])))


def test_refusals_name_the_cause() -> None:
    with pytest.raises(UserError, match=r"set body\.input_dim to 80"):
        FrameEncoder(LogMel(), TransformerEncoder(40, dim=12, layers=1, heads=3))
    with pytest.raises(UserError, match="overlap 50, window 50"):
        make(50, 50)
    encoder = make()
    with pytest.raises(UserError, match="takes one channel, the signal has 2"):
        encoder(torch.zeros(1, 2, 800), torch.tensor([800]))
    with pytest.raises(UserError, match="the batch has 8000 Hz"):
        encoder.frames(Batch(torch.zeros(1, 1, 800), torch.tensor([800]), ("a",), False, 8000))
    with pytest.raises(UserError, match="the stored features have 40"):
        encoder.frames(Batch(torch.zeros(1, 9, 40), torch.tensor([9]), ("a",), True, 16000))
