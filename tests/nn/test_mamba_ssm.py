"""Against mamba_ssm itself, where it is installed: its reference scan and the slow path of its Mamba, with one state_dict.

On CPU it needs a stand-in for its CUDA module, which would mislead other libraries: all of it happens in a process of its own.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

SCRIPT = """
import sys, types, warnings
warnings.simplefilter("ignore")
for name in ("selective_scan_cuda", "causal_conv1d_cuda"):
    sys.modules[name] = types.ModuleType(name)
try:
    from mamba_ssm.modules import mamba_simple
    from mamba_ssm.ops.selective_scan_interface import selective_scan_ref
except Exception as error:
    print(f"mamba_ssm does not import: {type(error).__name__}: {error}")
    sys.exit(77)
import torch
from sigssl.nn import Mamba, selective_scan

torch.manual_seed(0)
for groups in (None, 2):
    maps = (2, 4, 21) if groups is None else (2, groups, 4, 21)
    x = [torch.randn(2, 8, 21), torch.randn(2, 8, 21), -torch.rand(8, 4), torch.randn(maps), torch.randn(maps)]
    x = [v.requires_grad_() for v in (*x, torch.randn(8), torch.randn(2, 8, 21), torch.randn(8))]
    results = []
    for scan in (selective_scan_ref, selective_scan):
        y, last = scan(*x, delta_softplus=True, return_last_state=True)
        results.append([y, last, *torch.autograd.grad(y.square().sum() + last.square().sum(), x)])
    for theirs, ours in zip(*results):
        assert (theirs - ours).abs().max() <= 2e-5 * theirs.abs().max()

mamba_simple.selective_scan_fn, mamba_simple.selective_state_update = selective_scan_ref, None
mamba_simple.causal_conv1d_fn = mamba_simple.causal_conv1d_update = None
theirs, ours = mamba_simple.Mamba(32, use_fast_path=False), Mamba(32)
ours.load_state_dict(theirs.state_dict(), strict=True)
theirs.load_state_dict(ours.state_dict(), strict=True)
x = torch.randn(2, 30, 32)
a, b = theirs(x), ours(x)
torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
mine = dict(ours.named_parameters())
ga = torch.autograd.grad(a.square().sum(), list(theirs.parameters()))
gb = torch.autograd.grad(b.square().sum(), [mine[name] for name, _ in theirs.named_parameters()])
for p, q in zip(ga, gb):
    torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-5)
caches = theirs.allocate_inference_cache(2, 1), ours.allocate_inference_cache(2, 1)
with torch.no_grad():
    for t in range(6):
        p, q = theirs.step(x[:, t : t + 1], *caches[0])[0], ours.step(x[:, t : t + 1], *caches[1])[0]
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
for p, q in zip(*caches):
    torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
"""


def test_scan_layer_weights_and_steps_equal_mamba_ssm() -> None:
    if importlib.util.find_spec("mamba_ssm") is None:
        pytest.skip("mamba_ssm is not installed: MAMBA_SKIP_CUDA_BUILD=TRUE MAMBA_FORCE_BUILD=TRUE pip install --no-deps mamba-ssm")
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stderr[-3000:]
