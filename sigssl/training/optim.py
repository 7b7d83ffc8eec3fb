"""AdamW with two groups of parameters, and the multiplier of its learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from sigssl.training.options import OptimOptions


def groups(module: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Trainable parameters in two groups: matrices, which decay, and the rest, which does not.

    Biases, scales of norms and other vectors do not decay, nor what a module has marked with `parameter._no_weight_decay = True`.
    """
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for parameter in module.parameters():
        if parameter.requires_grad:
            spare = parameter.ndim <= 1 or getattr(parameter, "_no_weight_decay", False)
            (spared if spare else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]


def multiplier(options: OptimOptions, updates: int) -> Callable[[int], float]:
    """The factor of the learning rate as a function of the update s = 1 ... `updates`.

    p/w while p = s/updates is below the warm-up share w; then (1 - p)/(1 - w) for linear decay (specs: TERA's schedule), the same
    through half a cosine, or 1.
    """

    def factor(s: int) -> float:
        p, w = s / updates, options.warmup
        if p < w:
            return p / w
        left = max((1.0 - p) / (1.0 - w), 0.0) if w < 1.0 else 1.0
        if options.decay == "linear":
            return left
        return 0.5 * (1.0 + math.cos(math.pi * (1.0 - left))) if options.decay == "cosine" else 1.0

    return factor


def optimizer(module: nn.Module, options: OptimOptions) -> torch.optim.AdamW:
    """AdamW over :func:`groups`, fused: its kernel can also scale the gradient and skip a step without asking the processor."""
    return torch.optim.AdamW(groups(module, options.weight_decay), lr=options.lr, betas=options.betas, eps=options.eps, fused=True)


def schedule(adam: torch.optim.Optimizer, options: OptimOptions, updates: int) -> torch.optim.lr_scheduler.LambdaLR:
    """The scheduler; PyTorch counts from 0, the formula from 1."""
    factor = multiplier(options, updates)
    return torch.optim.lr_scheduler.LambdaLR(adam, lambda done: factor(done + 1))


def total_norm(gradients: Iterable[Tensor]) -> Tensor:
    """Global 2-norm, a float32 scalar on the gradients' device; nothing is read back."""
    norms = torch._foreach_norm(list(gradients))
    return torch.linalg.vector_norm(torch.stack([norm.float() for norm in norms]))
