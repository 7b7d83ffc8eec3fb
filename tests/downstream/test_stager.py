"""Stagers: every epoch once, streaming, saving and loading."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from sigssl.config import describe
from sigssl.data.stages import STAGES
from sigssl.downstream.fronts import BandPowerFront, EncoderFront
from sigssl.downstream.sequence_head import SequenceHead
from sigssl.downstream.stager import Stager, load_stager, save_stager, stager_meta, whole_night, window_starts
from sigssl.errors import UserError
from sigssl.features import BandPower

CHANNELS = ["Fpz-Cz", "Pz-Oz", "EOG"]


def make(kind: str = "bimamba", scale: str = "zscore", **options: object) -> Stager:
    torch.manual_seed(0)
    front = BandPowerFront(BandPower(scale=scale), CHANNELS)  # type: ignore[arg-type]
    return Stager(front, SequenceHead(30, kind, dim=16, layers=1), **options).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("epochs", [1, 19, 20, 21, 40, 95, 100])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
def test_every_epoch_is_scored_once(epochs: int, overlap: float) -> None:
    starts = window_starts(epochs, 20, overlap)
    covered = {e for s in starts for e in range(s, min(s + 20, epochs))}
    assert covered == set(range(epochs)) and min(starts) >= 0 and max(starts) + min(20, epochs) == epochs
    assert len(set(starts)) == len(starts)
    head = SequenceHead(6, "none", dim=8, layers=1).eval()
    x = torch.randn(epochs, 6)
    logits = whole_night(head, x, 20, overlap)
    assert logits.shape == (epochs, 5)
    torch.testing.assert_close(logits, head(x[None])[0])  # without context the mean over windows is each epoch's own


def test_stages_of_a_night() -> None:
    stager = make(temperature=2.0)
    x = 20 * torch.randn(3, 3000 * 5 + 700)
    probabilities = stager.stage(x)
    assert probabilities.shape == (5, len(STAGES)) and stager.stages == ("W", "N1", "N2", "N3", "R")
    torch.testing.assert_close(probabilities.sum(1), torch.ones(5))
    torch.testing.assert_close(probabilities, stager(stager.front(x)[None])[0].softmax(-1))
    assert (stager.sample_rate, stager.epoch_seconds, stager.channels) == (100, 30.0, CHANNELS)
    with pytest.raises(UserError, match="2 channels"):
        stager.stage(x[:2])


@pytest.mark.parametrize("kind", ["mamba", "gru"])
def test_streaming_is_the_whole_night(kind: str) -> None:
    stager = make(kind, scale="running", temperature=1.5)
    x = 20 * torch.randn(3, 3000 * 6)
    stream = stager.stream()
    live = torch.stack([stream.push(epoch) for epoch in x.split(3000, dim=1)])
    torch.testing.assert_close(live, stager.stage(x), atol=1e-5, rtol=1e-4)
    again = stager.stream()
    rows = torch.stack([again.push(row) for row in stager.front(x)])
    torch.testing.assert_close(rows, live, atol=1e-5, rtol=1e-4)


def test_whole_night_heads_do_not_stream() -> None:
    with pytest.raises(UserError, match="whole night"):
        make().stream()


def test_saved_and_loaded(tmp_path: Path) -> None:
    stager = make(temperature=1.7, window=20)
    save_stager(tmp_path / "exp" / "stager", stager, {"subjects": {"train": ["SC00"]}}, "# card\n")
    for place in (tmp_path / "exp" / "stager", tmp_path / "exp"):
        again = load_stager(place)
        assert describe(again) == describe(stager) and not again.training
    x = torch.randn(30, 30)
    torch.testing.assert_close(again.stage_features(x), stager.stage_features(x))
    meta = stager_meta(tmp_path / "exp")
    assert meta["channels"] == CHANNELS and meta["subjects"] == {"train": ["SC00"]} and meta["causal"] is False
    assert (tmp_path / "exp" / "stager" / "README.md").read_text() == "# card\n"
    with pytest.raises(UserError, match="no shipped one"):
        load_stager("sleep_bandpwer")


class Mean(nn.Module):
    """An epoch encoder for tests."""

    def __init__(self, dim: int = 4) -> None:
        super().__init__()
        self.dim, self.sample_rate, self.channels, self.epoch_seconds = dim, 10, 2, 30.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((1, 2))[:, None].expand(-1, self.dim)


def test_encoder_front() -> None:
    front = EncoderFront(Mean(), ["C3", "C4"])
    stager = Stager(front, SequenceHead(4, "mamba", dim=8, layers=1)).eval()
    x = torch.randn(2, 300 * 70 + 5)
    assert front(x).shape == (70, 4)
    stream = stager.stream()
    live = torch.stack([stream.push(x[:, i * 300 : (i + 1) * 300]) for i in range(3)])
    torch.testing.assert_close(live, stager.stage(x)[:3], atol=1e-5, rtol=1e-4)
    with pytest.raises(UserError, match="encoder has 2"):
        EncoderFront(Mean(), ["C3"])
