"""The Triton engine without a GPU: its results in Triton's interpreter, and whether its kernels compile for one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sigssl.optional import available

pytestmark = pytest.mark.skipif(not available("triton"), reason="triton is not installed (pip install --no-deps triton)")

# In processes of their own: the interpreter is chosen when Triton is imported, and Triton compiles from the source of functions,
# which the type checks that the tests switch on would replace.
INTERPRETED = """
import torch
from sigssl.nn import selective_scan
torch.manual_seed(0)
CASES = [(2, 6, 2, 11, 2, "all"), (1, 5, 2, 130, 1, "all"), (2, 5, 1, 64, 1, ""), (1, 33, 1, 20, 1, "z")]
for batch, dim, states, steps, groups, extras in CASES:
    x = {"u": torch.randn(batch, dim, steps), "delta": torch.randn(batch, dim, steps), "A": -torch.rand(dim, states) * 3}
    x |= {name: torch.randn(batch, groups, states, steps) for name in ("B", "C")}
    options = {}
    if extras:
        x["z"] = torch.randn(batch, dim, steps)
    if extras == "all":
        x |= {"D": torch.randn(dim), "delta_bias": torch.randn(dim), "initial_state": torch.randn(batch, dim, states)}
        options = {"lengths": torch.tensor([steps - 3, steps][:batch]), "resets": torch.rand(batch, steps) < 0.1}
    results = []
    for backend, dtype in (("reference", torch.float64), ("triton", torch.float32)):
        inputs = {k: v.to(dtype).requires_grad_() for k, v in x.items()}
        y, last = selective_scan(**inputs, **options, delta_softplus=True, return_last_state=True, backend=backend)
        torch.manual_seed(1)
        loss = (y * torch.randn(y.shape)).sum() + (last * torch.randn(last.shape)).sum()
        results.append([y, last, *torch.autograd.grad(loss, list(inputs.values()))])
    for expected, got in zip(*results):
        assert (got - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(min=1e-6), (batch, dim, extras)
"""
COMPILED = """
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from sigssl.nn.scan import triton_kernels
flags = dict(N=16, SKIP=True, GATE=True, BIAS=True, SOFTPLUS=True, LENGTHS=True, RESETS=True, WIDTH=16, STEPS=64)
integers = {"lengths": "*i64", "resets": "*u8"}
sequences = {"u", "delta", "z", "out", "dout", "du", "ddelta", "dz", "B", "C"}
arrays = {"A", "skip", "bias", "state", "saved", "dA", "dB", "dC", "dskip", "dbias", "adjoint"}
for kernel, constants in ((triton_kernels.forward_kernel, {**flags, "GRAD": True}), (triton_kernels.backward_kernel, flags)):
    kinds = {**dict.fromkeys(sequences, "*bf16"), **dict.fromkeys(arrays, "*fp32"), **integers}
    kinds |= dict.fromkeys(constants, "constexpr")
    signature = {name: kinds.get(name, "i32") for name in kernel.arg_names}
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    assert compile(ASTSource(fn=kernel, signature=signature, constexprs=places), target=GPUTarget("cuda", 90, 32)).asm["cubin"]
"""


@pytest.mark.parametrize(("script", "interpret"), [(INTERPRETED, "1"), (COMPILED, "0")], ids=["interpreted", "compiled for sm_90"])
def test_triton(script: str, interpret: str) -> None:
    environment = {**os.environ, "TRITON_INTERPRET": interpret, "TRITON_DEFAULT_FP_FUSION": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
