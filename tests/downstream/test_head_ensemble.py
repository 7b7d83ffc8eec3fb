"""Ensembles of heads: the mean of their log-probabilities, whole and streamed, trained apart, saved and read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sleep_toys import ToyEncoder, toy_nights

from sigssl.config import build, describe
from sigssl.downstream.fronts import BandPowerFront
from sigssl.downstream.head_ensemble import HeadEnsemble
from sigssl.downstream.sequence_head import SequenceHead
from sigssl.downstream.sleep import stage_night
from sigssl.downstream.sleep_settings import HeadSettings, SleepSettings
from sigssl.downstream.sleep_train import train_head
from sigssl.downstream.stager import Stager, load_stager, save_stager
from sigssl.downstream.tuning import Tuned
from sigssl.errors import UserError
from sigssl.features.bandpower import BandPower

FAST = SleepSettings(passes=3, window=20, batch=8, ema=0.0)


def pair(kind: str = "mamba") -> HeadEnsemble:
    torch.manual_seed(0)
    return HeadEnsemble([SequenceHead(6, kind, dim=16, layers=2) for _ in range(2)]).eval()


@torch.no_grad()
def test_it_is_the_geometric_mean_of_its_members() -> None:
    ensemble, x = pair(), torch.randn(2, 30, 6)
    lengths = torch.tensor([30, 12])
    product = torch.ones(())
    for head in ensemble.heads:
        product = product * head(x, lengths).softmax(-1)
    wanted = product.sqrt() / product.sqrt().sum(-1, keepdim=True)
    torch.testing.assert_close(ensemble(x, lengths)[1, :12].softmax(-1), wanted[1, :12])
    assert not torch.equal(*(next(head.parameters()) for head in ensemble.heads))


@torch.no_grad()
def test_streaming_is_the_whole() -> None:
    ensemble, x = pair(), torch.randn(1, 9, 6)
    states, parts = None, []
    for epoch in x.split(2, 1):
        logits, states = ensemble.stream(epoch, states)
        parts.append(logits)
    assert ensemble.causal and not pair("bimamba").causal
    torch.testing.assert_close(torch.cat(parts, 1), ensemble(x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_it_is_rebuilt_from_its_description() -> None:
    ensemble = pair()
    again = build(describe(ensemble)).eval()
    again.load_state_dict(ensemble.state_dict())
    x = torch.randn(1, 5, 6)
    torch.testing.assert_close(again(x), ensemble(x))


def test_heads_of_different_kinds_are_refused() -> None:
    with pytest.raises(UserError, match="one kind"):
        HeadEnsemble([SequenceHead(6, "gru", dim=8), SequenceHead(6, "mamba", dim=8)])


def test_members_are_trained_apart_and_chosen_apart() -> None:
    nights = toy_nights(6)
    alone = HeadSettings("gru", dim=16, layers=1, lrs=[1e-2])
    both = HeadSettings("gru", dim=16, layers=1, lrs=[1e-2], members=2)
    first, trained = (train_head(nights[:4], nights[4:], arm, FAST, 0) for arm in (alone, both))
    assert isinstance(trained.head, HeadEnsemble) and len(trained.passes) == len(trained.lrs) == 2
    for name, value in first.head.state_dict().items():  # the first member is the head that is trained alone
        assert torch.equal(value, trained.head.heads[0].state_dict()[name])
    assert [row["member"] for row in trained.history] == [0, 0, 0, 1, 1, 1]
    probabilities = stage_night(trained, nights[4])
    assert probabilities.shape == (len(nights[4].stages), 5) and abs(probabilities.sum(1) - 1).max() < 1e-5


def test_an_ensemble_needs_features_that_stay() -> None:
    arm = HeadSettings("gru", dim=16, layers=1, members=2)
    with pytest.raises(UserError, match="tune=frozen"):
        train_head(toy_nights(2), toy_nights(2), arm, FAST, 0, lambda: Tuned(ToyEncoder(), "full"))
    with pytest.raises(UserError, match="members=0"):
        HeadSettings(members=0)


def test_a_stager_with_an_ensemble_is_saved_and_read(tmp_path: Path) -> None:
    torch.manual_seed(1)
    front = BandPowerFront(BandPower(scale="running"), ["Fpz-Cz", "Pz-Oz", "EOG"])
    heads = [SequenceHead(front.dim, "mamba", dim=16, layers=1) for _ in range(2)]
    stager = Stager(front, HeadEnsemble(heads), 1.2).eval()
    again = load_stager(save_stager(tmp_path / "stager", stager))
    signal = 20 * torch.randn(3, 100 * 30 * 6)
    torch.testing.assert_close(again.stage(signal), stager.stage(signal))
    stream, whole = again.stream(), again.stage(signal)
    pushed = torch.stack([stream.push(epoch) for epoch in signal.split(3000, 1)])
    torch.testing.assert_close(pushed, whole, rtol=1e-3, atol=1e-4)
