"""The fused convolution + SiLU against torch's operators in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sigssl.nn.scan import conv_silu, engines

WORKING = {name for name, works, _ in engines() if works}
needs_cpp = pytest.mark.skipif("cpp" not in WORKING, reason="the cpp engine does not run here")


def run(inputs: list[Tensor | None], resets: Tensor | None, backend: str) -> list[Tensor]:
    x, weight, bias, before = inputs
    assert x is not None and weight is not None
    y = conv_silu(x, weight, bias, before, resets, backend)
    g = torch.Generator().manual_seed(5)
    weights = torch.randn(y.shape, generator=g).to(y.dtype)
    return [y, *torch.autograd.grad(y, [v for v in inputs if v is not None], weights)]


@needs_cpp
@pytest.mark.parametrize("frames", [1, 2, 3, 127, 128, 129, 300])
@pytest.mark.parametrize(("channels", "width"), [(1, 4), (19, 4), (48, 3), (33, 1)])
@pytest.mark.parametrize("extras", [True, False])
def test_equals_torch(frames: int, channels: int, width: int, extras: bool) -> None:
    g = torch.Generator().manual_seed(frames)
    x, weight = torch.randn(2, frames, 2 * channels, generator=g), torch.randn(channels, width, generator=g)
    bias, before = torch.randn(channels, generator=g), torch.randn(2, channels, width - 1, generator=g)
    resets = torch.rand(2, frames, generator=g) < 0.05 if extras else None
    half = x[..., :channels]  # not dense, as after in_proj
    inputs: list[Tensor | None] = [half, weight, *((bias, before) if extras else (None, None))]
    inputs = [None if v is None else v.requires_grad_() for v in inputs]
    exact = [None if v is None else v.detach().double().requires_grad_() for v in inputs]
    for got, expected in zip(run(inputs, resets, "cpp"), run(exact, resets, "torch"), strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=2e-5)


@needs_cpp
def test_bfloat16() -> None:
    x, weight = torch.randn(2, 50, 40).bfloat16(), torch.randn(40, 4)
    got, expected = conv_silu(x, weight, backend="cpp"), conv_silu(x.double(), weight.double(), backend="torch")
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.double(), expected, rtol=1e-2, atol=1e-2)
