"""A pretraining step of NeuroNet-T beside its authors' code, in turns: NEURONET=checkout python tests/bench/neuronet.py.

A step goes from scaled epochs through both views and both losses forward and backward to the update of AdamW. NEURONET names a
checkout of dlcjfgmlnasa/NeuroNet (timm must be importable); without it only this package is measured. Rows:

- reference mode: equal sums (parameters, forward values, gradients and running statistics of the authors' code).
- framing frames: the corrected method, each frame cut out and convolved by itself.
- default: framing "continuous", each sample convolved once: a change of design. It masks 75 %, the reference 80 %.
- bf16: the same under autocast, as `trainer.precision: auto` chooses where the processor multiplies bfloat16.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import torch
from torch import nn

from sigssl.methods import NeuroNet, NeuroNetEncoder
from sigssl.methods.neuronet_checkpoint import reference
from sigssl.types import Batch
from sigssl.views import TokenMask

warnings.simplefilter("ignore")
SETTINGS = {
    "fs": 100,
    "second": 30,
    "time_window": 3,
    "time_step": 0.375,
    "encoder_embed_dim": 512,
    "encoder_heads": 8,
    "encoder_depths": 4,
    "decoder_embed_dim": 192,
    "decoder_heads": 8,
    "decoder_depths": 1,
    "projection_hidden": [1024, 512],
    "temperature": 0.05,
}
Step = Callable[[], None]


def authors(x: torch.Tensor) -> Step:
    """Their model and optimiser; what it prints is kept quiet."""
    sys.path.insert(0, os.environ["NEURONET"])
    from models.neuronet.model import NeuroNet as Theirs

    model = Theirs(**SETTINGS)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def step() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            reconstruction, contrastive, _ = model(x[:, 0], mask_ratio=0.8)
        (reconstruction + contrastive).backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def ours(method: NeuroNet, x: torch.Tensor, bf16: bool = False) -> Step:
    """This package, as its task runs it."""
    batch = Batch(x, torch.full((len(x),), x.shape[2]), tuple(map(str, range(len(x)))), False, 100)
    trained: nn.Module = method.train()
    optimiser = torch.optim.AdamW([p for p in trained.parameters() if p.requires_grad], lr=1e-5, fused=True)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = trained(batch, generator)["loss"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def contestants(x: torch.Tensor) -> dict[str, Step]:
    """Every row of the table."""
    made = {"authors' code": authors(x)} if "NEURONET" in os.environ else {}
    made["reference mode"] = ours(reference(SETTINGS), x)
    made["reference mode, bf16"] = ours(reference(SETTINGS), x, bf16=True)
    made["framing frames"] = ours(NeuroNet(NeuroNetEncoder(framing="frames"), TokenMask()), x)
    made["default"] = ours(NeuroNet(NeuroNetEncoder(), TokenMask()), x)
    made["default, bf16"] = ours(NeuroNet(NeuroNetEncoder(), TokenMask()), x, bf16=True)
    return made


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--only", nargs="*", default=[""], help="rows, by the beginning of their names; the authors' is always in")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", 2)))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    steps = contestants(torch.randn(given.batch, 1, 3000))
    steps = {name: step for name, step in steps.items() if name.startswith(("authors", *given.only))}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(given.rounds):
        for name, step in steps.items():
            wall, processor = time.perf_counter(), time.process_time()
            step()
            taken[name].append((time.perf_counter() - wall, time.process_time() - processor))
    first = next(iter(taken))
    print(f"torch {torch.__version__}, {given.threads} threads, NeuroNet-T, batch {given.batch}, {given.rounds} rounds")
    print(f"| step | median s | processor s | epochs/s | times {first} | by processor time |")
    print("|---|---|---|---|---|---|")
    for name, rounds in taken.items():
        wall, processor = (statistics.median(column) for column in zip(*rounds, strict=True))
        # each round's ratio first: what else the machine does changes from round to round
        ratios = [statistics.median(b[k] / r[k] for b, r in zip(taken[first], rounds, strict=True)) for k in (0, 1)]
        print(f"| {name} | {wall:.2f} | {processor:.2f} | {given.batch / wall:.1f} | {ratios[0]:.2f} | {ratios[1]:.2f} |")


if __name__ == "__main__":
    main()
