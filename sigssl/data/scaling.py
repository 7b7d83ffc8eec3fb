"""Robust scaling of a recording: one transform, kept with the encoder and applied wherever a signal comes in."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sigssl.errors import UserError


class RobustScaler(nn.Module):
    """(x - median) / interquartile range, of each channel over the whole recording; whatever the unit, the result is the same.

    Args:
        clip: values beyond this many interquartile ranges are cut to it, so that an artefact cannot rule a batch; None: none.

    Raises:
        UserError: a clip that is not positive.
    """

    def __init__(self, clip: float | None = 20.0) -> None:
        super().__init__()
        if clip is not None and clip <= 0:
            raise UserError(f"RobustScaler: clip is {clip}; expected a positive number of interquartile ranges, or none.")
        self.clip = clip

    def statistics(self, signal: Float[Tensor, "channels samples"]) -> Float[Tensor, "channels 2"]:
        """Median and interquartile range of each channel; a range of 0 (a flat channel) is given as 1.

        Args:
            signal: a whole recording; non-finite samples are an error.

        Raises:
            UserError: no samples, or non-finite ones.
        """
        if not signal.shape[1]:
            raise UserError("a recording without samples cannot be scaled.")
        values = signal.detach().cpu().numpy()
        if not np.isfinite(values).all():
            raise UserError("the signal holds values that are not finite (NaN or infinite); mend or leave out that recording.")
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=1)
        spread = np.where(high > low, high - low, 1.0)
        return torch.from_numpy(np.stack([middle, spread], 1).astype(np.float32)).to(signal.device)

    def scale(
        self, signal: Float[Tensor, "*batch channels samples"], statistics: Float[Tensor, "*batch channels 2"]
    ) -> Float[Tensor, "*batch channels samples"]:
        """Scale a recording, or a part of it, by the statistics of the whole."""
        scaled = (signal - statistics[..., :1]) / statistics[..., 1:]
        return scaled if self.clip is None else scaled.clamp(-self.clip, self.clip)

    def forward(self, signal: Float[Tensor, "channels samples"]) -> Float[Tensor, "channels samples"]:
        """Scale a whole recording [C, N]."""
        return self.scale(signal, self.statistics(signal))
