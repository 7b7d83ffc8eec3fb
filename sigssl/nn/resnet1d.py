"""NeuroNet's frame network: a residual network of three kernel sizes that makes one token of each frame of an epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sigssl.errors import UserError
from sigssl.nn.frame_norm import FrameBatchNorm, elu_of_sum
from sigssl.nn.framing import frame_starts, sliding_means, window_means

STEM_KERNEL = 7
STRIDES = (1, 1, 2, 2)  # of the four stages
REFERENCE_POOLS = (16, 11, 6)
GROUPS = 8

Framing = Literal["continuous", "frames", "reference"]
Norm = Literal["batch", "group"]


class FrameNetwork(nn.Module):
    """Epochs [B, C, S] -> tokens [B, F, `dim`].

    A stem (convolution 7, stride 2, norm, max pooling 3, stride 2, ELU) and, for each kernel size, four residual blocks of strides
    1, 1, 2, 2; each branch is averaged over bins of the frame, the averages of all branches are joined and go through
    Linear, ELU, Linear. All convolutions are without bias.

    framing:

    - "continuous" (default): convolutions run once over the whole epoch, and each frame's bins average what lies in its window.
      A sample is convolved once, not in each of the 7 frames that hold it. A position near the edge of a frame sees what lies
      beyond the edge, where a frame that is cut out sees zeros: this is a change of design and not the same sums. (The sums
      could only be shared as they are in the stem, which has 0.4 % of them: the zeros at the edges reach, layer by layer,
      150 samples inwards from both sides.)
    - "frames": every frame is cut out and convolved by itself, all of them in one batch of norms; same padding, aligned shortcuts.
    - "reference": as NeuroNet's code has it: padding 1 for every kernel, shortcuts cut on the right to fit, average pools of
      16, 11, 6, batch norm apart for every place in the epoch, a step of int(hop) samples.

    Args:
        samples: S.
        window: of a frame, in samples.
        hop: of frames, in samples; need not be whole.
        channels: C.
        widths: channels of the four stages; the first is the stem's too.
        kernels: one branch for each.
        bins: averages of each branch per frame.
        token_dim: width of a token; None: half of what the averages come to.
        norm: "batch", or "group" (groups of 8 channels or so, nothing shared between items).
        framing: see above.

    Raises:
        UserError: sizes that do not fit together.
    """

    def __init__(
        self,
        samples: int = 3000,
        window: int = 300,
        hop: float = 37.5,
        channels: int = 1,
        widths: Sequence[int] = (32, 32, 48, 64),
        kernels: Sequence[int] = (3, 5, 7),
        bins: Sequence[int] = (4, 3, 1),
        token_dim: int | None = None,
        norm: Norm = "batch",
        framing: Framing = "continuous",
    ) -> None:
        super().__init__()
        if len(widths) != len(STRIDES) or len(kernels) != len(bins) or any(k % 2 == 0 for k in kernels):
            raise UserError(
                f"FrameNetwork: expected {len(STRIDES)} widths, odd kernels and as many bins; got {widths}, {kernels}, {bins}."
            )
        self.samples, self.window, self.hop, self.channels = samples, window, hop, channels
        self.framing: Framing = framing
        self.starts = frame_starts(samples, window, hop, floor=framing == "reference")
        places = len(self.starts) if framing == "reference" else None
        same = framing != "reference"
        self.stem = nn.Conv1d(channels, widths[0], STEM_KERNEL, 2, STEM_KERNEL // 2, bias=False)
        self.stem_norm = make_norm(widths[0], norm, places)
        self.branches = nn.ModuleList(Branch(widths, kernel, norm, same, places) for kernel in kernels)
        self._make_pools(list(kernels), list(bins))
        flat = widths[-1] * sum(len(pool) // self._windows for pool in self._pools())
        self.dim = token_dim or flat // 2
        self.head = nn.Sequential(nn.Linear(flat, self.dim), nn.ELU(), nn.Linear(self.dim, self.dim))

    @property
    def frames(self) -> int:
        """F."""
        return len(self.starts)

    def forward(self, x: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch frames dim"]:
        """Tokens of epochs; each must have exactly `samples` samples."""
        if self.framing == "continuous":
            return self.head(self._averages(x))
        cut = self.cut(x).permute(2, 0, 1, 3)  # place, item, channel, sample: the places lie apart for their norms
        averages = self._averages(cut.reshape(-1, self.channels, self.window))
        tokens = self.head(averages[:, 0])
        return tokens.view(self.frames, len(x), self.dim).transpose(0, 1)

    def cut(self, x: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch channels frames window"]:
        """The frames themselves."""
        place = torch.tensor(self.starts, device=x.device)[:, None] + torch.arange(self.window, device=x.device)
        return x[:, :, place]

    def _averages(self, x: Tensor) -> Tensor:
        """Signals [N, C, L] -> what the head takes [N, windows, width x bins], one window per frame that lies in the signal."""
        x = self._stem(x)
        found = []
        for branch, pool in zip(self.branches, self._pools(), strict=True):
            map = branch(x)[:, :, 0].transpose(1, 2)  # [N, L, C], as it lies in memory
            found.append(torch.matmul(pool.to(map.dtype), map).unflatten(1, (self._windows, -1)))
        return torch.cat(found, 2).transpose(2, 3).flatten(2)  # channel first, as the reference's weights want it

    def _stem(self, x: Tensor) -> Tensor:
        """Signals [N, C, L] -> [N, width, 1, L/4], channels last; the max is taken before the ELU, which does not change it."""
        patches = F.pad(x, (STEM_KERNEL // 2, STEM_KERNEL // 2)).unfold(2, STEM_KERNEL, 2)  # [N, C, L/2, 7]
        rows = patches.transpose(1, 2).flatten(2)
        parts = math.gcd(
            len(rows), 64
        )  # one product of so many rows and so few columns would have a weight gradient 7 times as slow
        taps = self.stem.weight.flatten(1).t().expand(parts, -1, -1)
        x = torch.bmm(rows.reshape(parts, -1, rows.shape[2]), taps).view(*rows.shape[:2], -1).transpose(1, 2)[:, :, None]
        return F.elu(F.max_pool2d(self.stem_norm(x), (1, 3), (1, 2), (0, 1)))

    def _make_pools(self, kernels: list[int], bins: list[int]) -> None:
        length = self.samples if self.framing == "continuous" else self.window
        length = _halved(_halved(length))
        if self.framing == "reference" and len(kernels) != len(REFERENCE_POOLS):
            raise UserError("FrameNetwork: the reference's framing has three kernels.")
        starts = [i * self.hop for i in range(self.frames)] if self.framing == "continuous" else [0.0]
        self._windows = len(starts)
        for at, (kernel, count) in enumerate(zip(kernels, bins, strict=True)):
            if self.framing == "reference":
                left = _reference_length(length, kernel)
                if left < REFERENCE_POOLS[at]:
                    raise UserError(
                        f"FrameNetwork: a frame of {self.window} samples is too short for the reference's pools; frame otherwise."
                    )
                pool = sliding_means(REFERENCE_POOLS[at], left)
            else:
                pool = window_means(starts, float(self.window), count, _halved(_halved(length)), 16)
            self.register_buffer(f"pool{at}", pool, persistent=False)

    def _pools(self) -> list[Tensor]:
        return [self.get_buffer(f"pool{at}") for at in range(len(self.branches))]


class Branch(nn.Sequential):
    """Four residual blocks of one kernel size."""

    def __init__(self, widths: Sequence[int], kernel: int, norm: Norm, same: bool, places: int | None) -> None:
        pairs = pairwise((widths[0], *widths))
        super().__init__(*(Block(i, o, kernel, s, norm, same, places) for (i, o), s in zip(pairs, STRIDES, strict=True)))


class Block(nn.Module):
    """conv, norm, ELU, conv, norm, + shortcut, ELU; on [N, C, 1, L] that lies channels last."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, norm: Norm, same: bool, places: int | None) -> None:
        super().__init__()
        self.padding = kernel // 2 if same else 1
        self.stride = stride
        self.conv1 = nn.Conv1d(inputs, outputs, kernel, stride, bias=False)
        self.norm1 = make_norm(outputs, norm, places)
        self.conv2 = nn.Conv1d(outputs, outputs, kernel, bias=False)
        self.norm2 = make_norm(outputs, norm, places)
        self.shortcut: nn.Conv1d | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv1d(inputs, outputs, 1, stride, bias=False)
            self.shortcut_norm = make_norm(outputs, norm, places)

    def forward(self, x: Float[Tensor, "items channels 1 length"]) -> Float[Tensor, "items width 1 shorter"]:
        """The block; where the padding is too small for the kernel, the shortcut loses its right end."""
        y = activated(self.norm1, convolved(x, self.conv1.weight, self.stride, self.padding))
        y = convolved(y, self.conv2.weight, 1, self.padding)
        if self.shortcut is not None:
            x = self.shortcut_norm(convolved(x, self.shortcut.weight, self.stride, 0))
        return activated(self.norm2, y, x)


def activated(norm: nn.Module, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
    """ELU(norm(x) + shortcut), the shortcut cut on the right where it is longer."""
    return norm.activated(x, shortcut) if isinstance(norm, FrameBatchNorm) else elu_of_sum(norm(x), shortcut)


def convolved(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """A 1-D convolution of [N, C, 1, L], channels last: on processors up to three times as fast as nn.Conv1d is on [N, C, L]."""
    kernel = weight[:, :, None].contiguous(memory_format=torch.channels_last)
    return F.conv2d(x, kernel, None, (1, stride), (0, padding))


def make_norm(channels: int, norm: Norm, places: int | None) -> nn.Module:
    """A batch norm, or a group norm."""
    if norm == "batch":
        return FrameBatchNorm(channels, places)
    return nn.GroupNorm(max(g for g in range(1, GROUPS + 1) if channels % g == 0), channels)


def _halved(length: int) -> int:
    return -(-length // 2)


def _reference_length(length: int, kernel: int) -> int:
    """Length behind the four blocks of padding 1."""
    for stride in STRIDES:
        length = (length + 2 - kernel) // stride + 1 + 2 - kernel + 1
    return length
