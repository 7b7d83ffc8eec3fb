"""Masked reconstruction losses against loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sigssl.objectives import label_weight, masked_l1, masked_mse


@pytest.fixture
def made() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, 3, 5, 4, generator=generator)
    label = torch.rand(3, 5, 4, generator=generator) < 0.4
    label[1] = False  # an utterance without a label
    return prediction, target, label


def slow(prediction: Tensor, target: Tensor, label: Tensor, power: int, mean: str) -> float:
    utterances = []
    for b in range(len(prediction)):
        errors = []
        for t in range(prediction.shape[1]):
            for f in range(prediction.shape[2]):
                if label[b, t, f]:
                    errors.append(abs(float(prediction[b, t, f]) - float(target[b, t, f])) ** power)
        utterances.append(errors)
    if mean == "element":
        flat = [e for errors in utterances for e in errors]
        return sum(flat) / len(flat)
    means = [sum(errors) / len(errors) for errors in utterances if errors]
    return sum(means) / len(means)


@pytest.mark.parametrize("mean", ["element", "utterance"])
@pytest.mark.parametrize(("loss", "power"), [(masked_l1, 1), (masked_mse, 2)])
def test_equals_the_loop(made, loss, power, mean) -> None:
    assert loss(*made, mean).item() == pytest.approx(slow(*made, power, mean), rel=1e-6)


def test_unlabelled_values_do_nothing(made) -> None:
    prediction, target, label = made
    prediction = prediction.requires_grad_()
    loss = masked_l1(prediction, target.masked_fill(~label, float("nan")), label)
    loss.backward()
    assert loss == masked_l1(prediction, target, label)
    assert torch.equal(prediction.grad != 0, label)


def test_no_label_at_all_is_zero_with_zero_gradient(made) -> None:
    prediction, target, label = made
    prediction = prediction.requires_grad_()
    for mean in ("element", "utterance"):
        loss = masked_l1(prediction, target, torch.zeros_like(label), mean)
        loss.backward()
        assert loss == 0
    assert not prediction.grad.any()


def test_weights_combine_batches_exactly(made) -> None:
    whole = masked_l1(*made)
    parts = [[x[:1] for x in made], [x[1:] for x in made]]
    losses = torch.stack([masked_l1(*p) for p in parts])
    weights = torch.stack([label_weight(p[2]) for p in parts])
    torch.testing.assert_close((losses * weights).sum() / weights.sum(), whole)
    assert label_weight(made[2], "utterance") == 2


def test_loss_is_float32_under_autocast(made) -> None:
    prediction, target, label = made
    assert masked_l1(prediction.bfloat16(), target, label).dtype == torch.float32
