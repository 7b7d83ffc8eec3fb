"""Training heads: what is learned, best weights as copies, frozen parts untouched, calibration."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sleep_toys import ToyEncoder, toy_nights
from torch import nn

from sigssl.data.feature_nights import Night
from sigssl.downstream import sleep_train
from sigssl.downstream.night_windows import SHORTEST, Corpus
from sigssl.downstream.sequence_head import SequenceHead
from sigssl.downstream.sleep import stage_night
from sigssl.downstream.sleep_settings import HeadSettings, SleepSettings
from sigssl.downstream.sleep_train import stage_weights, train_head
from sigssl.downstream.sleep_validation import fit_temperature, nights_logits
from sigssl.downstream.tuning import Tuned
from sigssl.downstream.weight_average import Average
from sigssl.errors import UserError

FAST = SleepSettings(passes=4, window=20, batch=8, ema=0.0)


def arm(kind: str = "bigru", **options: object) -> HeadSettings:
    return HeadSettings(kind, dim=16, layers=1, lrs=[1e-2], **options)  # type: ignore[arg-type]


def test_context_helps_and_the_run_repeats() -> None:
    nights = toy_nights(12, noise=3.0)
    settings = SleepSettings(passes=8, window=20, batch=4, ema=0.0)
    runs = {kind: train_head(nights[:9], nights[9:], arm(kind), settings, 0) for kind in ("bimamba", "none")}
    assert runs["bimamba"].kappa > runs["none"].kappa
    again = train_head(nights[:9], nights[9:], arm("none"), settings, 0)
    assert again.history == runs["none"].history
    assert not again.head.training


def test_best_weights_are_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head that is kept scores as it did in its best pass, though later passes ruin it."""
    nights = toy_nights(6)
    seen: list[dict[str, torch.Tensor]] = []
    scores = iter([0.1, 0.9, 0.2, 0.3])

    def told(head: SequenceHead, tuned: object, validation: object) -> tuple[float, float]:
        seen.append(copy.deepcopy(head.state_dict()))
        return next(scores), 0.0

    monkeypatch.setattr(sleep_train, "validate", told)
    trained = train_head(nights[:4], nights[4:], arm("gru"), FAST, 0)
    assert trained.passes == [2] and trained.kappa == 0.9
    for name, value in trained.head.state_dict().items():
        torch.testing.assert_close(value, seen[1][name])
    assert any((seen[1][name] != seen[3][name]).any() for name in seen[1])


def test_learning_rate_is_chosen_on_validation() -> None:
    nights = toy_nights(6)
    trained = train_head(nights[:4], nights[4:], HeadSettings("gru", dim=16, layers=1, lrs=[1e-7, 1e-2]), FAST, 0)
    assert trained.lrs == [1e-2]


def test_windows_cover_every_epoch_of_a_pass_once_or_drop_short_rests() -> None:
    nights = [Night(f"n{n}", "s", np.zeros((n, 3), np.float32), np.zeros(n, np.int64)) for n in (1, 5, 19, 40, 95)]
    corpus = Corpus(nights)
    windows = corpus.windows(20, np.random.default_rng(0))
    for number, night in enumerate(nights):
        epochs = sorted(e for n, a, b in windows if n == number for e in range(a, b))
        assert len(epochs) == len(set(epochs)) and len(night.stages) - len(epochs) < 2 * SHORTEST
    x, y, lengths = corpus.batch(windows[:3])
    assert x.shape[:2] == y.shape and [int((row >= 0).sum()) for row in y] == lengths.tolist()


def test_a_batch_of_one_and_a_night_of_one_epoch() -> None:
    nights = toy_nights(3, epochs=16)
    short = Night("x", "S", nights[0].features[:1], np.array([2]))
    trained = train_head([nights[0], short], nights[1:], arm(), SleepSettings(passes=1, window=20, batch=1, ema=0.9), 0)
    assert stage_night(trained, short).shape == (1, 5)


@pytest.mark.parametrize("epochs", [1, 19, 20, 21, 40, 95, 100])
def test_every_epoch_is_staged_once(epochs: int) -> None:
    nights = toy_nights(3, epochs=24)
    trained = train_head(nights[:2], nights[2:], arm("mamba"), SleepSettings(passes=1, window=20), 0)
    probabilities = stage_night(trained, toy_nights(1, epochs=max(epochs, 8))[0].with_features(np.zeros((epochs, 30), np.float32)))
    assert probabilities.shape == (epochs, 5)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)


def test_stages_beyond_training_are_not_looked_at() -> None:
    nights = toy_nights(6)
    trained = train_head(nights[:4], nights[4:5], arm("gru"), FAST, 0)
    other = Night("n", "s", nights[5].features, np.zeros_like(nights[5].stages))
    np.testing.assert_array_equal(stage_night(trained, nights[5]), stage_night(trained, other))


def test_temperature_undoes_overconfidence() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4000, 5, generator=generator)
    stages = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
    assert fit_temperature(logits, stages) == pytest.approx(1.0, abs=0.06)
    assert fit_temperature(3 * logits, stages) == pytest.approx(3.0, abs=0.2)


def test_average_swaps_in_and_out() -> None:
    model = nn.Linear(3, 2)
    average = Average(model, 0.5)
    before = [p.clone() for p in model.parameters()]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    average.update(model)
    with average.of(model):
        inside = [p.clone() for p in model.parameters()]
    for old, mean, now in zip(before, inside, model.parameters(), strict=True):
        assert (mean > old).all() and (mean < now).all()
        torch.testing.assert_close(now, old + 1)


def test_stage_weights_favour_rare_stages() -> None:
    stages = np.repeat([0, 1, 2, 3, 4], [100, 4, 100, 100, 100])
    weights = stage_weights([Night("n", "s", np.zeros((404, 2), np.float32), stages)])
    assert weights.argmax() == 1 and weights.mean() == pytest.approx(1.0)


def signals(count: int = 4, epochs: int = 24) -> list[Night]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        stages = np.repeat(rng.integers(0, 5, epochs // 4), 4).astype(np.int64)
        wave = np.repeat(stages, 30) * np.tile(np.sin(np.arange(30)), epochs) + 0.1 * rng.standard_normal(30 * epochs)
        made.append(Night(f"n{number}", f"s{number}", wave[None].astype(np.float32), stages))
    return made


@pytest.mark.parametrize("tune", ["frozen", "last_block", "full"])
def test_what_is_frozen_stays_bit_identical(tune: str) -> None:
    """Parameters and buffers (batch norm's statistics), while the head and what may train do change."""
    torch.manual_seed(0)
    encoder = ToyEncoder()
    before = copy.deepcopy(encoder.state_dict())
    nights = signals()
    settings = SleepSettings(passes=2, window=8, batch=4, encoder_lr=1e-2, ema=0.9)
    made = Tuned(copy.deepcopy(encoder), tune)  # type: ignore[arg-type]
    trained = train_head(nights[:3], nights[3:], arm("gru"), settings, 0, lambda: made)
    assert trained.front is made
    changed = {name for name, value in made.encoder.state_dict().items() if not torch.equal(value, before[name])}
    free = {"frozen": (), "last_block": ("blocks.1", "norm.")}.get(tune, ("",))
    assert all(name.startswith(free) for name in changed) if free else not changed
    assert bool(changed) == (tune != "frozen")
    assert ("norm0.running_mean" in changed) == (tune == "full")


def test_modes_of_a_partly_trained_encoder() -> None:
    tuned = Tuned(ToyEncoder(), "last_block").train()
    modes = {name: module.training for name, module in tuned.encoder.named_modules()}
    assert modes["blocks.1"] and modes["blocks.1.1"] and modes["norm"]
    assert not modes["norm0"] and not modes["blocks.0.1"] and not modes["out"]
    x = torch.randn(2, 3, 1, 30)
    assert tuned.eval()(x).shape == (2, 3, 6) and tuned.embed(torch.randn(1, 30 * 70 + 4)).shape == (70, 6)
    with pytest.raises(UserError, match="last block"):
        encoder = ToyEncoder()
        encoder.trainable = None  # type: ignore[assignment,method-assign]
        Tuned(encoder, "last_block")


def test_nights_side_by_side_are_nights_alone() -> None:
    head = SequenceHead(30, "bigru", dim=8, layers=1).eval()
    nights = [night.features[: 20 + 9 * i] for i, night in enumerate(toy_nights(5))]
    together = nights_logits(head, [torch.from_numpy(x) for x in nights], at_once=2)
    for x, logits in zip(nights, together, strict=True):
        torch.testing.assert_close(logits, head(torch.from_numpy(x)[None])[0], atol=1e-5, rtol=1e-4)


def test_an_encoder_trains_in_bfloat16_and_its_nights_are_embedded_in_float32() -> None:
    seen: list[torch.dtype] = []
    encoder = ToyEncoder()
    encoder.out.register_forward_hook(lambda module, inputs, out: seen.append(out.dtype))
    tuned = Tuned(encoder, "full", precision="bf16-mixed")
    train_head(signals()[:3], signals()[3:], arm("gru"), SleepSettings(passes=1, window=8, batch=4), 0, lambda: tuned)
    assert set(seen) == {torch.bfloat16, torch.float32}
    assert tuned(torch.randn(2, 3, 1, 30)).dtype == torch.float32 == tuned.embed(torch.randn(1, 90)).dtype
    assert all(parameter.dtype == torch.float32 for parameter in tuned.parameters())
