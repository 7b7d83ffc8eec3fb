"""The optimiser: schedule values of the published recipe, groups, and a fused step that scales and skips on the device."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from sigssl.errors import UserError
from sigssl.methods import TERA
from sigssl.training.optim import groups, multiplier, optimizer, schedule, total_norm
from sigssl.training.options import OptimOptions, TrainerOptions


@pytest.mark.parametrize(("s", "expected"), [(1, 0.01429), (69, 0.98571), (70, 1.0), (71, 0.99892), (500, 0.53763), (1000, 0.0)])
def test_linear_multiplier_of_tera(s: int, expected: float) -> None:
    """s3prl's warmup_linear at N = 1000, w = 0.07, measured there."""
    assert multiplier(OptimOptions(warmup=0.07), 1000)(s) == pytest.approx(expected, abs=5e-6)


def test_other_decays() -> None:
    cosine, constant = (multiplier(OptimOptions(warmup=0.2, decay=decay), 100) for decay in ("cosine", "constant"))  # type: ignore[arg-type]
    assert cosine(10) == constant(10) == 0.5 and cosine(20) == constant(20) == constant(100) == 1.0
    assert cosine(60) == pytest.approx(0.5) and cosine(100) == pytest.approx(0.0)
    assert multiplier(OptimOptions(warmup=0.0), 10)(1) == 0.9
    with pytest.raises(UserError, match=r"optim\.warmup is 7"):
        OptimOptions(warmup=7.0)
    with pytest.raises(UserError, match=r"trainer\.save_every is 0"):
        TrainerOptions(save_every=0)


def test_the_scheduler_counts_updates_from_one() -> None:
    options = OptimOptions(lr=2.0, warmup=0.5)
    adam = optimizer(nn.Linear(2, 2), options)
    scheduler = schedule(adam, options, 4)
    seen = []
    for _ in range(4):
        seen.append(adam.param_groups[0]["lr"])
        adam.step()
        scheduler.step()
    assert seen == [1.0, 2.0, 1.0, 0.0]


def test_groups_of_tera(tera: Callable[[], TERA]) -> None:
    """specs: 21 decayed and 37 undecayed tensors for Base with head; ours are 15 and 31, q, k and v being one product per layer."""
    decayed, spared = groups(tera(), 0.01)
    layers = 1
    assert (len(decayed["params"]), len(spared["params"])) == (3 + 4 * layers, 7 + 8 * layers)  # type: ignore[arg-type]
    assert decayed["weight_decay"] == 0.01 and spared["weight_decay"] == 0.0


def test_marked_and_frozen_parameters() -> None:
    module = nn.Linear(3, 3)
    module.frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)
    module.marked = nn.Parameter(torch.ones(2, 2))
    module.marked._no_weight_decay = True  # type: ignore[attr-defined]
    decayed, spared = groups(module, 0.1)
    assert [p is module.weight for p in decayed["params"]] == [True]  # type: ignore[attr-defined]
    assert {id(p) for p in spared["params"]} == {id(module.bias), id(module.marked)}  # type: ignore[attr-defined]


def test_the_fused_step_scales_and_skips() -> None:
    torch.manual_seed(0)
    start, gradient = torch.randn(50), torch.randn(50)
    plain, scaled = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    reference = torch.optim.AdamW([plain], lr=0.1, weight_decay=0.0)
    fused = optimizer(nn.ParameterList([scaled]), OptimOptions(lr=0.1))
    for step in range(4):
        bad = step == 2
        scaled.grad = gradient * (float("nan") if bad else 8.0 * (step + 1))
        vars(fused).update(grad_scale=torch.tensor(8.0), found_inf=torch.tensor(float(bad)))
        fused.step()
        if not bad:
            plain.grad = gradient * (step + 1)
            reference.step()
        torch.testing.assert_close(scaled, plain)
    assert fused.state[scaled]["step"] == 3


def test_total_norm() -> None:
    parts = [torch.tensor([3.0]), torch.tensor([[4.0], [12.0]])]
    assert total_norm(parts) == 13.0 and torch.isnan(total_norm([*parts, torch.tensor([float("nan")])]))
