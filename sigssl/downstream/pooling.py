"""From a padded batch of frames to one vector for each utterance."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

STATISTICS = {"mean": 1, "mean+std": 2, "max": 1}  # pooling -> how many numbers it makes of one


def pool_frames(
    frames: Float[Tensor, "batch time dim"], lengths: Int[Tensor, " batch"], pool: str = "mean+std", segments: int = 1
) -> Float[Tensor, "batch pooled"]:
    """Statistics over time of each item's valid frames.

    Args:
        frames: hidden states; whatever is behind `lengths` is not read.
        lengths: valid frames, at least 1.
        pool: "mean", "mean+std" (the standard deviation of the frames themselves, divisor n) or "max".
        segments: each item is cut into this many equal parts, which are pooled apart and concatenated; with fewer frames than
            segments, neighbouring segments share a frame.

    Returns:
        [B, segments * statistics * D].
    """
    time = torch.arange(frames.shape[1], device=frames.device)
    parts = []
    for index in range(segments):
        start = torch.minimum(index * lengths // segments, lengths - 1)
        stop = torch.maximum((index + 1) * lengths // segments, start + 1)
        valid = ((time >= start[:, None]) & (time < stop[:, None]))[..., None]
        count = (stop - start)[:, None]
        if pool == "max":
            parts.append(frames.masked_fill(~valid, -torch.inf).amax(1))
            continue
        mean = frames.masked_fill(~valid, 0).sum(1) / count
        parts.append(mean)
        if pool == "mean+std":
            parts.append(((frames - mean[:, None]).masked_fill(~valid, 0).square().sum(1) / count).sqrt())
    return torch.cat(parts, dim=1)
