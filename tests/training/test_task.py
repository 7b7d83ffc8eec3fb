"""The task: passes and ranks together equal one joined batch, non-finite updates change nothing, each step has its own seed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from sigssl.data.batching import Planned, Position
from sigssl.data.dataset import Loaded
from sigssl.methods import TERA
from sigssl.training.options import OptimOptions
from sigssl.training.task import Task
from sigssl.types import Batch

Tera = Callable[..., TERA]
LENGTHS = [16000, 4000, 9000, 12000]  # frames, and so labels, differ between any two halves


class EveryThird(torch.nn.Module):
    """An alteration without chance: every third valid frame is zeroed and labelled."""

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        time = torch.arange(frames.shape[1])
        label = ((time % 3 == 0) & (time < lengths[:, None]))[:, :, None].expand_as(frames)
        return frames.masked_fill(label, 0.0), label


class Recorded(Task):
    """Keeps the normalised gradient and the tally's mean loss of the first update."""

    def __init__(self, *args: Any, path: Path) -> None:
        super().__init__(*args)
        self.path = path

    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **options: Any) -> None:
        super().configure_gradient_clipping(optimizer, *args, **options)
        gradients = [p.grad / optimizer.grad_scale for p in self.method.parameters()]
        loss = self.tally.means(self.reduced, self.device)["loss"]
        if self.global_rank == 0:
            torch.save({"gradients": gradients, "loss": loss}, self.path)


class Parts:
    """The items dealt to ranks and passes: rank r of pass p takes every n-th item."""

    def __init__(self, passes: int) -> None:
        self.passes = passes

    def __iter__(self) -> Iterator[Loaded]:
        ddp = torch.distributed.is_initialized()
        rank, world = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if ddp else (0, 1)
        for number in range(self.passes):
            yield loaded(list(range(number * world + rank, len(LENGTHS), self.passes * world)), number)


class Fixed:
    """The same batches in every run (a list would be taken for several loaders)."""

    def __init__(self, batches: list[Loaded]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Loaded]:
        return iter(self.batches)


def loaded(items: list[int], step: int = 0) -> Loaded:
    signals = torch.zeros(len(items), 1, max(LENGTHS[i] for i in items))
    for row, item in zip(signals, items, strict=True):
        row[0, : LENGTHS[item]] = torch.randn(LENGTHS[item], generator=torch.Generator().manual_seed(item))
    lengths = torch.tensor([LENGTHS[i] for i in items])
    batch = Batch(signals, lengths, tuple(f"u{i}" for i in items), False, 16000)
    return Loaded(Planned(Position(0, step), tuple(items)), batch, (), 1.0)


def fit(task: Task, loader: Any, updates: int = 1, **options: Any) -> Trainer:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", max_steps=updates, max_epochs=-1, **quiet, **{"devices": 1, **options})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice on small data
        trainer.fit(task, loader)
    return trainer


@pytest.fixture
def steady(tera: Tera) -> Tera:
    """TERA without chance."""

    def make() -> TERA:
        method = tera(dropout=0.0)
        method.alter = EveryThird()  # type: ignore[assignment]
        return method

    return make


def recorded(steady: Tera, path: Path, passes: int, clip: float | None = None, **options: Any) -> dict[str, Any]:
    task = Recorded(steady(), OptimOptions(clip=clip), 10, passes, 0, path=path)
    fit(task, Parts(passes), accumulate_grad_batches=passes, **options)
    made: dict[str, Any] = torch.load(path, weights_only=True)
    return made


@pytest.mark.parametrize(("ranks", "passes"), [(1, 2), (2, 1), (2, 2)])
def test_passes_and_ranks_equal_the_joined_batch(steady: Tera, tmp_path: Path, ranks: int, passes: int) -> None:
    one = recorded(steady, tmp_path / "one.pt", 1)
    options: dict[str, Any] = {"devices": ranks, "strategy": "ddp_fork"} if ranks > 1 else {}
    parts = recorded(steady, tmp_path / "parts.pt", passes, **options)
    assert parts["loss"] == pytest.approx(one["loss"], rel=1e-6)
    for a, b in zip(one["gradients"], parts["gradients"], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    # and it is the gradient of the mean over all labelled elements
    method = steady()
    loss = method(loaded([0, 1, 2, 3]).batch, torch.Generator())["loss"]
    loss.backward()
    assert one["loss"] == pytest.approx(float(loss.detach()), rel=1e-6)
    for parameter, gradient in zip(method.parameters(), one["gradients"], strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


def test_clipping_is_of_the_whole(steady: Tera, tmp_path: Path) -> None:
    clipped = recorded(steady, tmp_path / "c.pt", 2, clip=1e-3)["gradients"]
    norm = torch.linalg.vector_norm(torch.cat([g.flatten() for g in clipped]))
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("passes", [1, 2])
def test_a_non_finite_update_changes_nothing_and_is_named(tera: Tera, passes: int) -> None:
    class Sometimes(TERA):
        def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
            made = super().forward(batch, generator)
            return made | {"loss": made["loss"] * (float("nan") if "u3" in batch.ids else 1.0)}

    method = tera()
    method.__class__ = Sometimes
    task = Task(method, OptimOptions(), 10, passes, 0)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    fit(task, Fixed([loaded([i], i) for i in range(4)][4 - passes :]), accumulate_grad_batches=passes)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    norm, skipped = task.tally.updates()
    assert [s.update for s in skipped] == [1] and [p.items for p in skipped[0].batches] == [(3,)] and norm != norm
    means = task.tally.means(task.reduced, task.device)
    assert (means["loss"] == means["loss"]) == (passes > 1)  # the finite pass still counts
    fit(task, Fixed([loaded([i], i) for i in range(3)]))
    assert not all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_each_step_has_its_own_generator(tera: Tera) -> None:
    task = Task(tera(), OptimOptions(), 10, 1, seed=5)
    here, again, later = (task.generator("step", Planned(Position(0, s), (0,))).initial_seed() for s in (1, 1, 2))
    assert here == again != later != task.generator("valid", Planned(Position(0, 2), (0,))).initial_seed()
    task.generator("step", Planned(Position(0, 1), (0,)))
    a = torch.rand(3)
    task.generator("step", Planned(Position(0, 1), (7, 8)))
    assert torch.equal(torch.rand(3), a), "dropout follows the same seed"
