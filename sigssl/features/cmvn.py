"""Cepstral mean and variance normalisation: per utterance, or by the statistics of a speaker or corpus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn

from sigssl.errors import UserError
from sigssl.features import cpp

EPS = 1e-10  # added to the standard deviation


def normalise(frames: Tensor, lengths: Tensor, *, variance: bool = True) -> Tensor:
    """Per-utterance mean and, if asked, variance normalisation over valid frames.

    `(x - mean) / (std + 1e-10)` with the unbiased std. A dimension that is constant to rounding (silence, one frame) becomes 0.

    Args:
        frames: float32 [B, T, F], 0 behind the lengths; on a processor they are overwritten.
        lengths: valid frames [B].
        variance: whether to divide by the standard deviation.

    Returns:
        normalised frames [B, T, F], 0 behind the lengths.
    """
    if frames.device.type == "cpu" and frames.is_contiguous() and frames.dtype == torch.float32 and (engine := cpp.kernels()):
        cpp.normalise(frames, lengths, variance, engine)
        return frames
    if frames.device.type == "cpu":  # item by item: nothing is done on padding, and an item stays in the cache
        for item, length in zip(frames, lengths.tolist(), strict=True):
            if length:
                valid = item[:length]
                mean = valid.mean(0)
                valid -= mean
                if variance:
                    valid *= _scale(mean, valid.square().sum(0), length)
        return frames
    valid = (torch.arange(frames.shape[1], device=frames.device) < lengths[:, None])[..., None]
    count = lengths[:, None, None]
    mean = frames.sum(1, keepdim=True) / count.clamp(min=1)
    centred = torch.where(valid, frames - mean, 0.0)
    return centred * _scale(mean, centred.square().sum(1, keepdim=True), count) if variance else centred


def _scale(mean: Tensor, squares: Tensor, count: int | Tensor) -> Tensor:
    """One over the standard deviation, from the centred sum of squares; 0 where that is rounding error of the mean."""
    freedom = count.sub(1).clamp(min=1) if isinstance(count, Tensor) else max(count - 1, 1)
    std = (squares / freedom).sqrt()
    return torch.where(std > 4 * torch.finfo(torch.float32).eps * mean.abs(), 1 / (std + EPS), 0.0)


class GlobalCMVN(nn.Module):
    """Subtract a fixed mean and divide by a fixed standard deviation: of a corpus, or of the speaker of these utterances.

    Args:
        mean: what is subtracted, one value per dimension.
        std: what is divided by; None: nothing.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float] | None = None) -> None:
        super().__init__()
        if std is not None and len(std) != len(mean):
            raise UserError(f"GlobalCMVN: {len(mean)} means, {len(std)} standard deviations; expected as many of each.")
        self.mean = list(mean)
        self.std = None if std is None else list(std)

    @classmethod
    def from_stats(cls, stats: Float64[np.ndarray, "2 columns"], *, variance: bool = True) -> GlobalCMVN:
        """From statistics as Kaldi's compute-cmvn-stats writes them: sums and the count, then sums of squares and 0.

        As in Kaldi, the variance is that of the frames at hand (divided by N) and at least 1e-20.

        Raises:
            UserError: no frames were counted.
        """
        count = float(stats[0, -1])
        if count < 1:
            raise UserError("CMVN statistics hold no frames.")
        mean = stats[0, :-1] / count
        spread = np.maximum(stats[1, :-1] / count - mean**2, 1e-20) ** 0.5
        return cls(mean.tolist(), spread.tolist() if variance else None)

    def forward(
        self, frames: Float[Tensor, "batch frames dim"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch frames dim"]:
        """Normalised frames [B, T, F], 0 behind `lengths` [B]."""
        valid = torch.arange(frames.shape[1], device=frames.device) < lengths[:, None]
        return torch.where(valid[..., None], self.apply_to(frames), 0.0)

    def apply_to(self, frames: Tensor) -> Tensor:
        """Normalise [..., F] without regard to lengths.

        Raises:
            UserError: another width than that of the statistics.
        """
        if frames.shape[-1] != len(self.mean):
            raise UserError(f"GlobalCMVN has statistics of {len(self.mean)} dimensions; the features have {frames.shape[-1]}.")
        centred = frames - torch.tensor(self.mean, device=frames.device, dtype=torch.float32)
        return centred if self.std is None else centred / torch.tensor(self.std, device=frames.device, dtype=torch.float32)


class Moments:
    """Mean and centred sum of squares of frames that arrive in pieces, in double precision (Chan et al. 1979)."""

    def __init__(self, dim: int) -> None:
        self.count = 0
        self.mean = torch.zeros(dim, dtype=torch.float64)
        self.squares = torch.zeros(dim, dtype=torch.float64)

    def add(self, frames: Tensor) -> None:
        """Take in frames [t, F]."""
        new = len(frames)
        if new == 0:
            return
        x = frames.double()
        mean = x.mean(0)
        shift = mean - self.mean
        total = self.count + new
        self.squares += (x - mean).square().sum(0) + shift.square() * (self.count * new / total)
        self.mean += shift * (new / total)
        self.count = total

    def standardisation(self, *, variance: bool) -> tuple[Tensor, Tensor]:
        """Mean [F] to subtract and scale [F] to multiply by, float32."""
        scale = _scale(self.mean, self.squares, self.count) if variance else torch.ones_like(self.squares)
        return self.mean.float(), scale.float()
