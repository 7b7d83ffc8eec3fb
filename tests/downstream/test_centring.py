"""Embeddings relative to their night: against loops, causality, and the same in training, staging and streaming."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sleep_toys import ToyEncoder, toy_nights
from torch import nn

from sigssl.data.feature_nights import Night
from sigssl.downstream import sleep_train
from sigssl.downstream.centring import centred, middle
from sigssl.downstream.fronts import EncoderFront
from sigssl.downstream.night_windows import Corpus
from sigssl.downstream.sequence_head import SequenceHead
from sigssl.downstream.sleep_run import Job, open_sources
from sigssl.downstream.sleep_settings import Center, HeadSettings, SleepSettings
from sigssl.downstream.sleep_train import lengths_of_training, train_head
from sigssl.downstream.stager import Stager
from sigssl.downstream.tuning import Tuned
from sigssl.errors import UserError

CENTERS: list[Center] = ["none", "night", "past"]


@pytest.mark.parametrize("center", CENTERS)
def test_against_a_loop(center: Center) -> None:
    x = torch.randn(50, 6) + 100.0
    wanted = [
        x[t] - {"none": 0.0 * x[t], "night": sum(x) / 50, "past": sum(x[: t + 1]) / (t + 1)}[center]  # type: ignore[operator]
        for t in range(50)
    ]
    torch.testing.assert_close(centred(x, center), torch.stack(wanted), atol=1e-4, rtol=0)
    torch.testing.assert_close(x - middle(x, center), centred(x, center))


def test_past_does_not_see_the_future_and_offsets_vanish() -> None:
    x = torch.randn(40, 3)
    later = x.clone()
    later[20:] += 5.0
    assert torch.equal(centred(x, "past")[:20], centred(later, "past")[:20])
    centers: list[Center] = ["night", "past"]
    for center in centers:
        torch.testing.assert_close(centred(x + 7.0, center), centred(x, center), atol=1e-5, rtol=0)


class Sum(nn.Module):
    """An epoch encoder of one channel for tests."""

    dim, sample_rate, channels, epoch_seconds = 3, 10, 1, 3.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x.mean((1, 2)), x.std((1, 2)), x.amax((1, 2))], 1)


@pytest.mark.parametrize("center", CENTERS)
def test_front_and_tuned_agree_and_streaming_is_the_whole(center: Center) -> None:
    x = torch.randn(1, 30 * 70 + 4)
    front = EncoderFront(Sum(), ["C3"], center).eval()
    torch.testing.assert_close(front(x), Tuned(Sum(), center=center).embed(x))
    stream = Stager(front, SequenceHead(3, "mamba", dim=8, layers=1)).eval()
    live = stream.stream()
    pushed = torch.stack([live.push(x[:, i * 30 : (i + 1) * 30]) for i in range(70)])
    same = torch.allclose(pushed, stream.stage(x), atol=1e-5, rtol=1e-4)
    assert same == (center != "night")  # a night's mean is not known while it runs


def test_training_windows_are_centred_as_whole_nights_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an encoder that does not move, the epochs that the head is trained on are those of the embedded nights."""
    torch.manual_seed(0)
    nights = [Night(f"n{i}", f"s{i}", torch.randn(1, 30 * 24).numpy() + i, torch.randint(5, (24,)).numpy()) for i in range(3)]
    tuned = Tuned(ToyEncoder(), "full", "night")
    for parameter in tuned.parameters():
        parameter.requires_grad_(False)  # full, but nothing learns: batch norm alone would tell train from eval
    monkeypatch.setattr(tuned, "train", lambda mode=True: tuned)
    whole = [tuned.embed(torch.from_numpy(night.features)) for night in nights[:2]]
    seen: list[torch.Tensor] = []
    original = sleep_train.disturb

    def look(x: torch.Tensor, head: SequenceHead, settings: SleepSettings) -> torch.Tensor:
        seen.append(x.detach())
        return original(x, head, settings)

    monkeypatch.setattr(sleep_train, "disturb", look)
    settings = SleepSettings(passes=1, window=24, batch=1, ema=0.0, center="night")
    train_head(nights[:2], nights[2:], HeadSettings("gru", dim=8, layers=1, lrs=[1e-3]), settings, 0, lambda: tuned)
    rows = torch.cat(whole)
    for row in torch.cat([x.flatten(0, 1) for x in seen]):
        assert ((rows - row).abs().amax(1) < 1e-4).any()


def test_few_nights_get_as_many_updates() -> None:
    settings = SleepSettings(passes=4, window=20, batch=8)
    for count in (1, 3, 12):
        corpus = Corpus(toy_nights(count))
        sweeps, updates = lengths_of_training(corpus, replace(settings, updates=50), 0)
        once = lengths_of_training(corpus, settings, 0)
        assert once[0] == 1 and updates == sweeps * once[1] >= 50 > (sweeps - 1) * once[1]
    trained = train_head(
        toy_nights(1), toy_nights(2), HeadSettings("gru", dim=8, layers=1, lrs=[1e-3]), replace(settings, updates=40), 0
    )
    assert len(trained.history) == 4  # validated as often as with many nights


def test_band_powers_have_a_setting_of_their_own(tmp_path: Path) -> None:
    job = Job(str(tmp_path), tmp_path, [HeadSettings()], SleepSettings(center="night"))
    with pytest.raises(UserError, match=r"center.*scale"):
        open_sources(job)
