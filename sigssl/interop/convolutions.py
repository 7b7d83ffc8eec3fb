"""The waveform front end of wav2vec 2.0 and its kin, so that padding never shows: lengths, group norm over valid frames, streaming.

The published implementation (Baevski et al. 2020; `transformers` has the same) takes the statistics of group norm over the padded
batch, so that an item's states depend on its neighbours. Here they are those of the item itself, as if it were alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sigssl.features.cmvn import Moments
from sigssl.types import frame_mask

Blocks = Callable[[], Iterator[Tensor]]
VARIANCE_FLOOR = 1e-7  # what transformers' feature extractor adds to the variance of a signal
ROWS = 500  # frames of a piece when streaming: 10 s


class Convolutions:
    """Convolutions without padding, with the layers of a `transformers` model.

    Args:
        layers: with `conv`, `activation` and, some, `layer_norm` (a GroupNorm or a LayerNorm).
        kernels: of each layer, in its own input's samples.
        strides: of each layer.

    Attributes:
        hop: samples from one frame to the next.
        receptive: samples that one frame sees.
    """

    def __init__(self, layers: nn.ModuleList, kernels: Sequence[int], strides: Sequence[int]) -> None:
        self.layers, self.kernels, self.strides = layers, tuple(kernels), tuple(strides)
        self.hop = math.prod(self.strides)
        hops = [math.prod(self.strides[:index]) for index in range(len(self.strides))]
        self.receptive = 1 + sum((kernel - 1) * hop for kernel, hop in zip(self.kernels, hops, strict=True))
        norm: Any = getattr(layers[0], "layer_norm", None)
        self.group: nn.GroupNorm | None = norm if isinstance(norm, nn.GroupNorm) else None

    def count(self, samples: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        """Frames of signals of at least `receptive` samples."""
        return torch.div(samples - self.receptive, self.hop, rounding_mode="floor") + 1

    def __call__(
        self, signal: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch time channels"]:
        """Frames [B, T, F]; behind `count(lengths)` they are of no use.

        Args:
            signal: padding is finite.
            lengths: valid samples, at least `receptive`.
        """
        if signal.device.type == "cpu" and not bool((lengths == signal.shape[1]).all()):
            # a processor gains nothing by batches and would work on the padding too
            items = [
                self(row[None, :n], lengths[i : i + 1])[0] for i, (row, n) in enumerate(zip(signal, lengths.tolist(), strict=True))
            ]
            return nn.utils.rnn.pad_sequence(items, batch_first=True)
        x = self._first(signal)
        if self.group is not None:
            valid = torch.div(lengths - self.kernels[0], self.strides[0], rounding_mode="floor") + 1
            x = _group_norm(x, self.group, valid)
        return self._others(x)

    def stream(self, blocks: Blocks) -> Iterator[Float[Tensor, "time channels"]]:
        """The same frames of one signal, in pieces at bounded memory; `blocks` is called again for the statistics of group norm."""
        moments = None
        if self.group is not None:
            device = self.group.weight.device
            moments = Moments(self.group.num_channels)
            moments.mean, moments.squares = moments.mean.to(device), moments.squares.to(device)
            for piece in pieces(blocks(), self.kernels[0], self.strides[0], self.receptive, ROWS * self.hop // self.strides[0]):
                moments.add(self._first(piece[None])[0].T)
        for piece in pieces(blocks(), self.receptive, self.hop, self.receptive, ROWS):
            x = self._first(piece[None])
            if self.group is not None and moments is not None:
                variance = (moments.squares / moments.count).float()[None, :, None]
                x = _scaled(x - moments.mean.float()[None, :, None], variance, self.group)
            yield self._others(x)[0]

    def _first(self, signal: Tensor) -> Tensor:
        first: Any = self.layers[0]
        x: Tensor = first.conv(signal[:, None])
        return x

    def _others(self, x: Tensor) -> Tensor:
        for index, layer in enumerate(self.layers):
            module: Any = layer
            if index:
                x = module.conv(x)
            norm = getattr(module, "layer_norm", None)
            if isinstance(norm, nn.LayerNorm):
                x = norm(x.transpose(1, 2)).transpose(1, 2)
            x = module.activation(x)
        return x.transpose(1, 2)


def _group_norm(x: Tensor, norm: nn.GroupNorm, lengths: Tensor) -> Tensor:
    """Group norm with a group per channel, its statistics over the valid frames of each item."""
    if bool((lengths == x.shape[2]).all()):
        return norm(x)
    valid = frame_mask(lengths, x.shape[2])[:, None]
    count = lengths[:, None, None]
    x = x.float()
    centred = x - (x * valid).sum(2, keepdim=True) / count
    return _scaled(centred, (centred * valid).square().sum(2, keepdim=True) / count, norm)


def _scaled(centred: Tensor, variance: Tensor, norm: nn.GroupNorm) -> Tensor:
    return centred * torch.rsqrt(variance + norm.eps) * norm.weight[:, None] + norm.bias[:, None]


def standardised(signal: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"]) -> Float[Tensor, "batch samples"]:
    """Signals of mean 0 and variance 1 over their valid samples, padding 0."""
    valid = frame_mask(lengths, signal.shape[1])
    count = lengths.clamp(min=1)[:, None]
    centred = (signal - (signal * valid).sum(1, keepdim=True) / count) * valid
    return centred * torch.rsqrt(centred.square().sum(1, keepdim=True) / count + VARIANCE_FLOOR)


def standardised_blocks(blocks: Blocks) -> Blocks:
    """What :func:`standardised` gives, for one signal in blocks: it is read once here for its mean and variance."""
    moments = Moments(1)
    for block in blocks():
        moments.add(block[:, None].cpu())
    mean = moments.mean.item()
    scale = 1 / math.sqrt(moments.squares.item() / max(1, moments.count) + VARIANCE_FLOOR)
    return lambda: ((block - mean) * scale for block in blocks())


def pieces(
    blocks: Iterable[Float[Tensor, " samples"]], kernel: int, stride: int, least: int, rows: int
) -> Iterator[Float[Tensor, " piece"]]:
    """A signal cut so that every frame of `kernel` samples, `stride` apart, lies whole in exactly one piece.

    Args:
        blocks: the signal, in blocks of any size.
        kernel: samples of a frame.
        stride: samples from one frame to the next.
        least: a signal with fewer samples (but one at least) is filled up with zeros.
        rows: frames of a piece.
    """
    span = kernel + (rows - 1) * stride
    waiting: Tensor | None = None
    total = 0
    for block in blocks:
        total += len(block)
        waiting = block if waiting is None else torch.cat([waiting, block])
        while len(waiting) >= span:
            yield waiting[:span]
            waiting = waiting[rows * stride :]
    if waiting is None or not total:
        return
    if total < least:
        waiting = nn.functional.pad(waiting, (0, least - total))
    if len(waiting) >= kernel:
        yield waiting
