"""The linear layer through oneDNN: nn.Linear's values and gradients, and its own where it does not apply."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sigssl.nn import linear
from sigssl.nn.linear import Linear


def pair(bias: bool = True) -> tuple[Linear, nn.Linear]:
    torch.manual_seed(0)
    ours, plain = Linear(48, 80, bias), nn.Linear(48, 80, bias)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def gradients(layer: nn.Module, x: Tensor, upper: Tensor) -> list[Tensor]:
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = layer(x)
    return [y.detach(), *torch.autograd.grad(y, [x, *layer.parameters()], upper)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(150,), (3, 70), (2, 5, 40)])
def test_values_and_gradients_are_those_of_the_plain_layer(
    shape: tuple[int, ...], bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, plain = pair(bias)
    x, upper = torch.randn(48, *shape).movedim(0, -1), torch.randn(*shape, 80)  # not contiguous
    expected = 2 if linear._there() else 0  # asked before the counting begins: its answer comes from a product, once
    calls = []
    product = linear._product
    monkeypatch.setattr(linear, "_product", lambda *args: calls.append(1) or product(*args))
    for mine, theirs in zip(gradients(ours, x, upper), gradients(plain, x, upper), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    assert len(calls) == expected


def test_only_what_is_asked_for_gets_a_gradient() -> None:
    ours, plain = pair()
    for layer in (ours, plain):
        layer.weight.requires_grad_(False)
        layer(torch.ones(200, 48)).sum().backward()
    assert ours.weight.grad is None and ours.bias.grad is not None and plain.bias.grad is not None
    torch.testing.assert_close(ours.bias.grad, plain.bias.grad)


@pytest.mark.parametrize("case", ["few rows", "float64", "autocast", "missing"])
def test_where_it_does_not_apply_it_is_the_plain_layer(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, plain = pair()
    x = torch.randn(7 if case == "few rows" else 200, 48)
    if case == "float64":
        ours, plain, x = ours.double(), plain.double(), x.double()
    if case == "missing":
        monkeypatch.setattr(linear, "_there", lambda: False)
    monkeypatch.setattr(linear._Product, "apply", lambda *args: pytest.fail("was used"))
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"):
        assert torch.equal(ours(x), plain(x)) and ours(x).dtype == plain(x).dtype
