"""Banks of probes against single ones, Adam against torch's, kNN against scikit-learn."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch.nn import functional

from sigssl.downstream.heads import Adam, Bank, bank_loss, knn_votes


def test_adam_of_a_bank_equals_torch_adam_probe_by_probe() -> None:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(40, 3, 7, generator=generator), torch.randint(4, (40,), generator=generator)
    lrs, l2 = torch.tensor([1e-1, 1e-2, 1e-3]), torch.tensor([0.0, 1e-2, 1e-1])
    bank = Bank(3, 7, 4, probes=3, hidden=5, seed=2)
    optimiser = Adam(bank, lrs, l2)
    for _ in range(20):
        optimiser.step(bank_loss(bank(x), y).sum())
    for index in range(3):
        alone = Bank(3, 7, 4, hidden=5, seed=2)
        groups = [
            {"params": list(alone.weights), "weight_decay": float(l2[index])},
            {"params": [alone.mixing, *alone.biases], "weight_decay": 0.0},
        ]
        adam = torch.optim.Adam(groups, lr=float(lrs[index]))
        for _ in range(20):
            adam.zero_grad()
            functional.cross_entropy(alone(x)[0], y).backward()
            adam.step()
        torch.testing.assert_close(bank(x)[index], alone(x)[0], atol=2e-5, rtol=1e-4)


def test_probes_of_a_bank_do_not_touch_one_another() -> None:
    x, y = torch.randn(10, 2, 3), torch.randint(2, (10,))
    bank = Bank(2, 3, 2, probes=2)
    gradient = torch.autograd.grad(bank_loss(bank(x), y)[0], list(bank.parameters()))
    assert all(g[0].any() and not g[1].any() for g in gradient)


def test_weighted_sum_gradient_is_that_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(3)
    x, y = torch.randn(12, 4, 5, generator=generator).double(), torch.randint(3, (12,), generator=generator)
    bank = Bank(4, 5, 3, probes=2, seed=1).double()

    def loss(mixing: torch.Tensor) -> torch.Tensor:
        return bank_loss(torch.func.functional_call(bank, {"mixing": mixing}, x), y)

    start = torch.randn(2, 4, generator=generator).double().requires_grad_()
    assert torch.autograd.gradcheck(loss, start)
    assert torch.allclose(bank.layer_weights().sum(1), torch.ones(2, dtype=torch.float64))


def test_weighted_sum_finds_the_layer_that_tells() -> None:
    generator = torch.Generator().manual_seed(5)
    y = torch.randint(3, (300,), generator=generator)
    x = torch.randn(300, 4, 3, generator=generator)
    x[:, 2] += 4 * functional.one_hot(y, 3)
    bank = Bank(4, 3, 3, probes=1)
    optimiser = Adam(bank, torch.tensor([3e-2]), torch.zeros(1))
    for _ in range(100):
        optimiser.step(bank_loss(bank(x), y).sum())
    assert bank.layer_weights()[0].argmax() == 2 and bank.layer_weights()[0, 2] > 0.6


def test_knn_agrees_with_scikit_learn() -> None:
    generator = np.random.default_rng(7)
    train, y, x = generator.normal(size=(120, 6)), generator.integers(0, 4, 120), generator.normal(size=(70, 6))
    votes = knn_votes(*map(torch.as_tensor, (train.astype("f4"), y, x.astype("f4"))), (1, 5, 11), classes=4, block=32)
    for row, k in enumerate((1, 5, 11)):
        other = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(train, y)
        shares = torch.as_tensor(other.predict_proba(x) * k)
        assert torch.equal(votes[row].floor().long(), shares.round().long())
        clear = shares.topk(2).values.diff(dim=1)[:, 0] < -0.5  # where there is no tie, the answers are the same
        assert np.array_equal(votes[row].argmax(-1).numpy()[clear], other.predict(x)[clear])


def test_knn_breaks_ties_for_the_nearest() -> None:
    train = torch.tensor([[1.0, 0.0], [0.9, 0.4], [0.0, 1.0], [0.1, 1.0]])
    votes = knn_votes(train, torch.tensor([1, 1, 0, 0]), torch.tensor([[1.0, 0.1]]), (4,), classes=2)
    assert votes.argmax(-1).item() == 1
