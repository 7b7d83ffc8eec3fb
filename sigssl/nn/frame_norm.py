"""Batch normalisation of frames that lie channels-last, over all frames at once or apart for each place in the epoch."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sigssl.nn import place_norm


class FrameBatchNorm(nn.BatchNorm1d):
    """Batch norm of [N, C, 1, L]; its parameters and buffers are those of nn.BatchNorm1d.

    Args:
        channels: C.
        places: None: one set of statistics per channel. A number P: N is P x B, place first, and each place is normalised by its
            own statistics, the running ones moved P times in order, as if the places came through one after another (that is
            how NeuroNet's code does it, in a loop; the sums here are the same without the loop).
    """

    def __init__(self, channels: int, places: int | None = None) -> None:
        super().__init__(channels)
        self.places = places

    def forward(self, x: Float[Tensor, "items channels 1 length"]) -> Float[Tensor, "items channels 1 length"]:
        """Normalise; in training by the statistics of `x`, which move the running ones."""
        if not self.training or self.places is None:
            if self.training and self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum or 0.0, self.eps
            )
        return self._by_place(x, None, False)

    def activated(
        self, x: Float[Tensor, "items channels 1 length"], shortcut: Float[Tensor, "items channels 1 longer"] | None = None
    ) -> Float[Tensor, "items channels 1 length"]:
        """ELU(norm(x) + shortcut), the shortcut cut on the right where it is longer.

        It takes one pass over memory where places have norms of their own and the C++ kernel runs.
        """
        if self.training and self.places is not None and place_norm.runs(x):
            return self._by_place(x, shortcut, True)
        return elu_of_sum(self(x), shortcut)

    def _by_place(self, x: Tensor, shortcut: Tensor | None, elu: bool) -> Tensor:
        assert self.places is not None
        if place_norm.runs(x):
            made = place_norm.apply(x, self.weight, self.bias, shortcut, self.places, self.eps, elu)
        else:
            made = _PlaceNorm.apply(x, self.weight, self.bias, self.places, self.eps)
        y, mean, variance = made
        self._follow(mean, variance, x.shape[0] // self.places * x.shape[3])
        return y

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Running statistics after `places` updates: r <- (1 - m) r + m s, in closed form."""
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        places, momentum = len(mean), self.momentum or 0.0
        age = torch.arange(places - 1, -1, -1, device=mean.device, dtype=torch.float32)
        share = (momentum * (1 - momentum) ** age)[:, None]
        kept = (1 - momentum) ** places
        unbiased = variance * (count / max(count - 1, 1))
        self.running_mean.mul_(kept).add_((share * mean).sum(0))
        self.running_var.mul_(kept).add_((share * unbiased).sum(0))
        self.num_batches_tracked.add_(places)


def elu_of_sum(x: Tensor, shortcut: Tensor | None) -> Tensor:
    """ELU(x + shortcut), the shortcut cut on the right where it is longer; in place where it can be."""
    return F.elu(x if shortcut is None else x + shortcut[..., : x.shape[3]], inplace=True)


class _PlaceNorm(torch.autograd.Function):
    """Normalise [P x B, C, 1, L] over (B, L) for each of P and C; memory is [P, B x L, C] throughout."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, places: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        """The normalised rows, and mean and variance [places, C]."""
        rows = _rows(x, places)
        mean = rows.mean(1, dtype=torch.float32)
        centred = rows - mean[:, None].to(x.dtype)
        variance = centred.square().mean(1, dtype=torch.float32)  # torch.var_mean takes four times as long here
        scale = torch.rsqrt(variance + eps)
        y = torch.empty_like(x)  # filled through a view, since a view itself could not be changed in place later
        torch.addcmul(bias.to(x.dtype), centred, (scale * weight)[:, None].to(x.dtype), out=_rows(y, places))
        ctx.save_for_backward(centred, scale, weight)
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Gradients of the input, the scale and the shift."""
        centred, scale, weight = ctx.saved_tensors
        upper = _rows(gradients[0], len(scale))
        count = centred.shape[1]
        total = upper.sum(1, dtype=torch.float32)
        along = (upper * centred).sum(1, dtype=torch.float32) * scale  # sum of gradient x normalised
        gain = scale * weight
        offset, slope = -gain * total / count, -gain * scale * along / count
        back = torch.addcmul(offset[:, None].to(upper.dtype), centred, slope[:, None].to(upper.dtype))
        back.addcmul_(upper, gain[:, None].to(upper.dtype))
        return _back(back, gradients[0].shape), along.sum(0), total.sum(0), None, None


def _rows(x: Tensor, places: int) -> Tensor:
    """[P x B, C, 1, L] -> [P, B x L, C]; a view where `x` lies channels-last."""
    return x.permute(0, 2, 3, 1).reshape(places, -1, x.shape[1])


def _back(rows: Tensor, shape: torch.Size) -> Tensor:
    return rows.view(shape[0], shape[2], shape[3], shape[1]).permute(0, 3, 1, 2)
