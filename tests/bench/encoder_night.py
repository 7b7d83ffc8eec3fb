"""A night through NeuroNet-T beside bare matrix products: `python tests/bench/encoder_night.py [--hours 8] [--rounds 3]`.

The stager is an untrained NeuroNet-T (12.6 M parameters in its Transformer) and a bidirectional Mamba, as `sigssl stage` runs
them: signal in memory -> probabilities. Beside it stand the matrix products that the encoder is made of and nothing else: every
linear layer, convolution (as the product of its patches), pooling and attention of one batch of epochs is recorded with its sizes,
and products of these sizes are run on operands that lie ready, as often as a night needs. float32 and bfloat16, in turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sigssl.downstream.fronts import BATCH, EncoderFront
from sigssl.downstream.sequence_head import SequenceHead
from sigssl.downstream.stager import Stager
from sigssl.downstream.staging import probabilities_of
from sigssl.methods import NeuroNetEncoder

Sizes = tuple[int, int, int, int]  # products, rows, inner, columns


class Recorder(TorchDispatchMode):
    """Notes the sizes of every matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[Sizes] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ("mm", "addmm"):
            a, b = args[-2:]
            self.sizes.append((1, a.shape[0], a.shape[1], b.shape[1]))
        elif name == "_linear_pointwise":
            self.sizes.append((1, *args[0].shape, args[1].shape[0]))
        elif name == "bmm":
            self.sizes.append((*args[0].shape, args[1].shape[2]))
        elif name == "convolution":
            weight = args[1]
            self.sizes.append((1, out.shape[0] * out.shape[2] * out.shape[3], weight[0].numel(), weight.shape[0]))
        elif "scaled_dot_product" in name:
            batch, heads, frames, width = args[0].shape
            self.sizes += [(batch * heads, frames, width, frames), (batch * heads, frames, frames, width)]
        return out


def bare(encoder: NeuroNetEncoder, epochs: int, dtype: torch.dtype) -> Callable[[], None]:
    """The products of a night."""
    with torch.no_grad(), Recorder() as recorder:
        encoder(torch.randn(BATCH, encoder.channels, encoder.samples))
    pairs = [(torch.randn(n, m, k).to(dtype), torch.randn(n, k, c).to(dtype)) for n, m, k, c in recorder.sizes]
    work = sum(2 * n * m * k * c for n, m, k, c in recorder.sizes) * epochs / BATCH
    print(f"{len(pairs)} products a batch, {work / 1e12:.2f} T operations a night")
    single = [(a[0], b[0]) if len(a) == 1 else (a, b) for a, b in pairs]

    def night() -> None:
        for _ in range(round(epochs / BATCH)):
            for a, b in single:
                torch.matmul(a, b)

    return night


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", 2)))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    encoder = NeuroNetEncoder()
    stager = Stager(EncoderFront(encoder, ["Fpz-Cz"]), SequenceHead(encoder.dim, "bimamba")).eval()
    epochs = round(given.hours * 120)
    signal = (20 * torch.randn(epochs * encoder.samples, 1)).numpy()

    calls: dict[str, Callable[[], object]] = {
        "staging, float32": lambda: probabilities_of(stager, signal, False),
        "products, float32": bare(encoder, epochs, torch.float32),
        "staging, bfloat16": lambda: probabilities_of(stager, signal, False, bf16=True),
        "products, bfloat16": bare(encoder, epochs, torch.bfloat16),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(given.rounds + 1):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            if turn:
                times[name].append(time.perf_counter() - begun)
    print(f"torch {torch.__version__}, {given.threads} threads, {given.hours:g} h, medians of {given.rounds} rounds")
    for kind in ("float32", "bfloat16"):
        ours, theirs = (statistics.median(times[f"{what}, {kind}"]) for what in ("staging", "products"))
        print(f"| {kind} | {ours:.2f} s | {theirs:.2f} s | {theirs / ours:.0%} |")


if __name__ == "__main__":
    main()
