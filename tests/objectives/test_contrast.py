"""NT-Xent and DCL against double loops, closed forms, two ranks, memory."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from sigssl.errors import UserError
from sigssl.objectives import dcl, nt_xent, pairs


def views(items: int, dim: int = 7, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    made = torch.randn(2, items, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return made[0].to(dtype), made[1].to(dtype)


def loop(a: Tensor, b: Tensor, t: float, keep_positive: bool, barred: set[tuple[int, int]] | None = None) -> float:
    z = F.normalize(torch.cat([a, b]).double(), dim=1)
    n, total = len(a), 0.0
    for i in range(2 * n):
        other = (i + n) % (2 * n)
        below = 0.0
        for j in range(2 * n):
            if j == i or (j == other and not keep_positive) or (i % n, j % n) in (barred or set()):
                continue
            below += math.exp(float(z[i] @ z[j]) / t)
        total += -float(z[i] @ z[other]) / t + math.log(below)
    return total / (2 * n)


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_equal_a_double_loop(temperature: float) -> None:
    a, b = views(6)
    assert float(nt_xent(a, b, temperature)) == pytest.approx(loop(a, b, temperature, True), rel=1e-6, abs=1e-6)
    assert float(dcl(a, b, temperature)) == pytest.approx(loop(a, b, temperature, False), rel=1e-6, abs=1e-6)


def test_neighbours_of_a_recording_are_no_negatives() -> None:
    a, b = views(6)
    recording, epoch = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([4, 5, 8, 4, 6, 7])
    near = {(0, 1), (1, 0), (3, 4), (4, 3), (4, 5), (5, 4)}
    place = {"recording": recording, "epoch": epoch, "exclude": 2}
    assert float(nt_xent(a, b, 0.2, **place)) == pytest.approx(loop(a, b, 0.2, True, near), rel=1e-6)
    assert float(dcl(a, b, 0.2, **place)) == pytest.approx(loop(a, b, 0.2, False, near), rel=1e-6)
    with pytest.raises(UserError, match="recording and epoch"):
        nt_xent(a, b, exclude=1)


def test_closed_forms() -> None:
    same = torch.ones(8, 5)
    assert float(nt_xent(same, same)) == pytest.approx(math.log(15), rel=1e-6)
    assert float(dcl(same, same)) == pytest.approx(math.log(14), rel=1e-6)
    rows = torch.eye(8)
    assert float(nt_xent(rows, rows, 0.1)) == pytest.approx(math.log1p(14 * math.exp(-10)), rel=1e-3)
    assert float(dcl(rows, rows, 0.1)) == pytest.approx(-7.3609, abs=1e-4)
    one = torch.ones(1, 3)
    assert float(nt_xent(one, one)) == 0.0
    with pytest.raises(UserError, match="two items"):
        dcl(one, one)
    assert float(pairs(rows, rows).accuracy()) == 1.0


@settings(deadline=None, max_examples=20)
@given(items=st.integers(2, 9), seed=st.integers(0, 99))
def test_order_and_views_do_not_matter_and_dcl_is_below(items: int, seed: int) -> None:
    a, b = views(items, seed=seed)
    order = torch.randperm(items, generator=torch.Generator().manual_seed(seed))
    for loss in (nt_xent, dcl):
        value = loss(a, b, 0.3)
        torch.testing.assert_close(loss(b, a, 0.3), value, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(loss(a[order], b[order], 0.3), value, rtol=1e-5, atol=1e-5)
    assert float(dcl(a, b, 0.3)) <= float(nt_xent(a, b, 0.3)) + 1e-5


@pytest.mark.parametrize("loss", [nt_xent, dcl])
def test_invalid_items_have_no_effect_and_no_gradient(loss: object) -> None:
    assert callable(loss)
    a, b = views(6)
    valid = torch.tensor([True, True, False, True, False, True])
    spoilt = a.masked_fill(~valid[:, None], 1e6).requires_grad_()
    got = loss(spoilt, b, 0.2, valid=valid)
    torch.testing.assert_close(got, loss(a[valid], b[valid], 0.2))
    got.backward()
    assert spoilt.grad is not None and bool(spoilt.grad.isfinite().all()) and not spoilt.grad[~valid].any()


def test_rows_without_negatives_do_not_count_in_dcl() -> None:
    a, b = views(4)
    a.requires_grad_()
    alone = {"recording": torch.zeros(4, dtype=torch.long), "epoch": torch.arange(4), "exclude": 9}
    loss = dcl(a, b, **alone)
    loss.backward()
    assert float(loss.detach()) == 0.0 and a.grad is not None and not a.grad.any()


@pytest.mark.parametrize("kind", ["zero", "constant", "loud"])
def test_odd_vectors_stay_finite(kind: str) -> None:
    a, b = views(4)
    a = {"zero": a * 0, "constant": a * 0 + 3, "loud": a * 1e8}[kind].requires_grad_()
    for loss in (nt_xent, dcl):
        value = loss(a, b)
        value.backward()
        assert value.isfinite() and a.grad is not None and bool(a.grad.isfinite().all())


def test_bfloat16_autocast_changes_nothing() -> None:
    a, b = views(8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nt_xent(a, b), nt_xent(a, b)) and nt_xent(a, b).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        low = nt_xent(a, b)
    assert torch.equal(low, nt_xent(a, b))


def test_no_tensor_is_larger_than_the_square_of_the_batch() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    sizes: list[int] = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = func(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in (out if isinstance(out, (tuple, list)) else (out,)) if isinstance(t, Tensor))
            return out

    items, dim = 96, 64
    a, b = (view.requires_grad_() for view in views(items, dim))
    place = {"recording": torch.arange(items) // 9, "epoch": torch.arange(items), "exclude": 2}
    with Sizes():
        (nt_xent(a, b, **place) + dcl(a, b)).backward()
    assert max(sizes) == (2 * items) ** 2, "[2N, 2N], and no [2N, 2N, D]"


RANKS = """
import os, sys, torch, torch.distributed as dist
from sigssl.objectives import dcl, nt_xent
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
torch.manual_seed(0)
whole = torch.randn(2, 7, 5)
places = dict(recording=torch.tensor([0, 0, 0, 1, 1, 1, 1]), epoch=torch.tensor([0, 1, 5, 0, 1, 2, 3]), exclude=1)
cut = slice(0, 4) if rank == 0 else slice(4, 7)  # of different sizes
for loss in (nt_xent, dcl):
    mine = whole[:, cut].clone().requires_grad_()
    value = loss(mine[0], mine[1], 0.2, **{k: v[cut] if k != "exclude" else v for k, v in places.items()})
    (value * mine.shape[1] / 7).backward()
    total = (value * mine.shape[1] / 7).detach().clone()
    dist.all_reduce(total)
    torch.save((total, mine.grad), f"{sys.argv[2]}.{loss.__name__}.{rank}")
dist.destroy_process_group()
"""


def test_two_ranks_equal_one_on_the_joined_batch(tmp_path: Path) -> None:
    """Loss and gradient, batches of 4 and 3 items."""
    meeting = tmp_path / "meeting"
    jobs = [subprocess.Popen([sys.executable, "-W", "ignore", "-c", RANKS, str(rank), str(meeting)]) for rank in (0, 1)]
    assert [job.wait(timeout=120) for job in jobs] == [0, 0]
    torch.manual_seed(0)
    whole = torch.randn(2, 7, 5)
    place = {"recording": torch.tensor([0, 0, 0, 1, 1, 1, 1]), "epoch": torch.tensor([0, 1, 5, 0, 1, 2, 3]), "exclude": 1}
    for loss in (nt_xent, dcl):
        joined = whole.clone().requires_grad_()
        value = loss(joined[0], joined[1], 0.2, **place)
        value.backward()
        (total, first), (_, second) = (torch.load(f"{meeting}.{loss.__name__}.{rank}", weights_only=True) for rank in (0, 1))
        torch.testing.assert_close(total, value.detach(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(torch.cat([first, second], 1), joined.grad, rtol=1e-4, atol=1e-6)
