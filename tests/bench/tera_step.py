"""One TERA-Base training step beside s3prl's, interleaved in one process: python tests/bench/tera_step.py [--rounds 7].

A step alters a batch of frames, goes forward and backward, clips the gradient at 5 and updates. s3prl's row is its own model,
masking code and optimiser, as its runner puts them together. Wall time is what counts; processor time is less disturbed by other
work on the machine.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sigssl.nn import ReconstructionHead, TransformerEncoder
from sigssl.objectives import masked_l1
from sigssl.views import Alter

warnings.simplefilter("ignore")
DIM, LAYERS, HEADS, FFN = 768, 3, 12, 3072
TASK = {
    "mask_proportion": 0.15,
    "mask_consecutive_min": 7,
    "mask_consecutive_max": 7,
    "mask_allow_overlap": True,
    "mask_bucket_ratio": 1.5,
    "mask_frequency": 0.2,
    "noise_proportion": 0.15,
    "position_encoding_size": DIM,
}
Step = Callable[[Tensor], Tensor]


def update(loss: Tensor, module: torch.nn.Module, optimiser: torch.optim.Optimizer) -> Tensor:
    """The second half of a step, the same for all."""
    loss.backward()
    torch.nn.utils.clip_grad_norm_(module.parameters(), 5.0)
    optimiser.step()
    optimiser.zero_grad()
    return loss


def s3prl_step() -> Step:
    """s3prl 0.4.18: model and head of upstream.mockingjay.model, pretrain.mockingjay.task, optimizers."""
    from s3prl import optimizers
    from s3prl.pretrain.mockingjay import task
    from s3prl.upstream.mockingjay import model

    config = model.TransformerConfig(
        {
            "hidden_size": DIM,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "hidden_act": "gelu",
            "intermediate_size": FFN,
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.1,
            "initializer_range": 0.02,
            "layer_norm_eps": 1e-12,
            "share_layer": False,
            "pre_layer_norm": False,
        }
    )
    body, head = model.TransformerModel(config, 80), model.TransformerSpecPredictionHead(config, 80)
    both = torch.nn.ModuleList([body, head])
    optimiser = optimizers.get_AdamW_with_schedule([both], lr=2e-4, total_steps=1_000_000)
    l1 = torch.nn.L1Loss()

    def step(frames: Tensor) -> Tensor:
        altered, position, label, mask, target = task.generate_masked_acoustic_model_data((frames.clone(),), TASK)
        states = body(altered, position.expand(len(altered), -1, -1), mask, output_all_encoded_layers=False)
        predicted, _ = head(states)
        loss = l1(predicted.masked_select(label), target.masked_select(label))
        return update(loss, both, optimiser)

    return step


def sigssl_step(dropout: float = 0.1, bf16: bool = False) -> Step:
    """This package, in the faithful policy."""
    body = TransformerEncoder(80, DIM, LAYERS, HEADS, FFN, dropout=dropout)
    head = ReconstructionHead(DIM, 80)
    both = torch.nn.ModuleList([body, head])
    decayed = [p for p in both.parameters() if p.ndim > 1]
    spared = [p for p in both.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": spared, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=2e-4, fused=True)
    alter, generator = Alter(magnitude=0.15, policy="s3prl"), torch.Generator().manual_seed(0)

    def step(frames: Tensor) -> Tensor:
        lengths = torch.full((len(frames),), frames.shape[1])
        altered, label = alter(frames, lengths, generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            predicted = head(body(altered, lengths)[-1])
        loss = masked_l1(predicted, frames, label)
        return update(loss, both, optimiser)

    return step


def measure(steps: dict[str, Step], frames: Tensor, rounds: int) -> dict[str, tuple[float, float, float]]:
    """Medians of wall and processor seconds, and the smallest wall time, contestants taking turns."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for step in steps.values():
        step(frames)
    for _ in range(rounds):
        for name, step in steps.items():
            wall, processor = time.perf_counter(), time.process_time()
            step(frames)
            taken[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return {
        name: (statistics.median(w for w, _ in t), statistics.median(c for _, c in t), min(w for w, _ in t))
        for name, t in taken.items()
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--only", nargs="*", help="contestants, by the beginning of their names; s3prl is always in")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", 2)))
    given: Any = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    random.seed(0)
    made: dict[str, Callable[[], Step]] = {
        "s3prl": s3prl_step,
        "sigssl": sigssl_step,
        "dropout 0": lambda: sigssl_step(dropout=0.0),
        "bf16 autocast": lambda: sigssl_step(bf16=True),
    }
    wanted = ("s3prl", *given.only) if given.only else ("",)
    steps = {name: make() for name, make in made.items() if name.startswith(tuple(wanted))}
    rows = measure(steps, torch.randn(given.batch, given.frames, 80), given.rounds)
    base = rows["s3prl"]
    shape = f"B {given.batch}, T {given.frames}"
    print(f"torch {torch.__version__}, {given.threads} threads, TERA-Base, {shape}, {given.rounds} rounds")
    print("| step | median s | processor s | best s | frames/s | faster (median) | faster (processor) | faster (best) |")
    print("|---|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        speed = given.batch * given.frames / row[0]
        ratios = " | ".join(f"{b / r:.2f}" for b, r in zip(base, row, strict=True))
        print(f"| {name} | {row[0]:.2f} | {row[1]:.2f} | {row[2]:.2f} | {speed:.0f} | {ratios} |")


if __name__ == "__main__":
    main()
