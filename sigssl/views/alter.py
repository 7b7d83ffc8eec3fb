"""TERA's alteration of frames along time, frequency and magnitude, for a whole batch at once, on its device."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from sigssl.errors import UserError
from sigssl.types import frame_mask


class Altered(NamedTuple):
    """Altered frames [B, T, F], and which elements a reconstruction is asked for (boolean, same shape)."""

    frames: Float[Tensor, "batch time features"]
    label: Bool[Tensor, "batch time features"]


class Alter:
    """Time, frequency and magnitude alteration (TERA, Liu et al. 2021, section III-B; Mockingjay section 2.2).

    Time: blocks of `width` frames, about `time` of the utterance; by one die per utterance they are set to 0 (the mean, after
    CMVN), overwritten by other blocks of the same utterance, or left as they are; all of them are labelled.
    Frequency: one band of 1 to `freq` of the bins is set to 0 and labelled, in every frame.
    Magnitude: Gaussian noise on everything, with probability `magnitude`; not labelled, except where nothing else is altered:
    then every element is.

    Args:
        time: share of frames altered, 0 to switch off. Blocks may overlap, which leaves about 1 - exp(-time) labelled.
        width: frames in a block.
        max_width: if given, each utterance draws its width from `width` to `max_width`.
        overlap: whether blocks may overlap; else they start on a grid of `round(spacing * width)` frames.
        spacing: see `overlap`.
        zero: probability that the time blocks are set to 0.
        swap: probability that they are overwritten by other blocks; the rest leaves them.
        freq: widest band as a share of the bins, 0 to switch off.
        magnitude: probability of noise, 0 to switch off.
        noise_std: its standard deviation.
        policy: "default", or "s3prl", which draws exactly as s3prl's pretraining does, oddities included: the last frame and the
            top bin are never altered, a band may be empty (and an utterance then unlabelled), one noise die for the batch,
            no time alteration under 24 frames, lengths counted from non-zero frames, and noise-only training
            that labels the padding as well.
    """

    def __init__(
        self,
        time: float = 0.15,
        width: int = 7,
        max_width: int | None = None,
        overlap: bool = True,
        spacing: float = 1.5,
        zero: float = 0.8,
        swap: float = 0.1,
        freq: float = 0.2,
        magnitude: float = 0.0,
        noise_std: float = 0.2,
        policy: Literal["default", "s3prl"] = "default",
    ) -> None:
        for name, share in (("time", time), ("zero", zero), ("swap", swap), ("freq", freq), ("magnitude", magnitude)):
            if not 0 <= share <= 1:
                raise UserError(f"Alter: {name} is a share or a probability, between 0 and 1; got {share}.")
        if width < 1 or (max_width is not None and max_width < width):
            raise UserError(f"Alter: 1 <= width <= max_width, in frames; got width {width}, max_width {max_width}.")
        if zero + swap > 1:
            raise UserError(f"Alter: zero + swap is at most 1; got {zero} + {swap}.")
        self.time, self.width, self.max_width, self.overlap, self.spacing = time, width, max_width, overlap, spacing
        self.zero, self.swap = zero, swap
        self.freq, self.magnitude, self.noise_std = freq, magnitude, noise_std
        self.policy: Literal["default", "s3prl"] = policy

    @torch.no_grad()
    def __call__(
        self, frames: Float[Tensor, "batch time features"], lengths: Int[Tensor, " batch"], generator: Generator
    ) -> Altered:
        """Alter a padded batch.

        Args:
            frames: normalised features [B, T, F]; zeros behind the lengths.
            lengths: valid frames of each item [B].
            generator: the only source of randomness; lives on the device of `frames`.

        Returns:
            A fresh tensor of altered frames, and the label.
        """
        lengths = self._counted(frames, lengths)
        valid = frame_mask(lengths, frames.shape[1])[:, :, None]
        altered, label = frames, torch.zeros_like(frames, dtype=torch.bool)
        if self.time > 0:
            altered, chosen = self._alter_time(altered, lengths, generator)
            label = label | chosen[:, :, None]
        if self.freq > 0:
            band = self._band(frames, generator)[:, None, :]
            altered = altered.masked_fill(band, 0.0)
            label = label | (band & valid)
        if self.magnitude > 0:
            altered = altered + self._noise(frames, valid, generator)
        if self.time == 0 and self.freq == 0:
            label = torch.ones_like(label) if self.policy == "s3prl" else valid.expand_as(label).clone()
        return Altered(altered.clone() if altered is frames else altered, label)

    def _counted(self, frames: Tensor, lengths: Tensor) -> Tensor:
        if self.policy == "default":
            return lengths
        return ((frames.sum(-1) != 0) & frame_mask(lengths, frames.shape[1])).sum(-1)

    def _alter_time(self, frames: Tensor, lengths: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """The frames with altered time blocks, and the mask [B, T] of these blocks."""
        batch, time, _ = frames.shape
        width = self._widths(lengths, generator)
        last_start, count = self._last_start(lengths, width), self._block_count(lengths, width)
        most = min(time, max(1, round(time * self.time / self.width)))
        starts, used = distinct(self._candidates(last_start, width, time, generator), count, most, generator)
        sources, _ = distinct(torch.arange(time, device=frames.device) <= last_start[:, None], count, most, generator)
        source, chosen = self._block_sources(starts, used, sources, width, lengths, time)
        die = torch.rand(batch, 1, generator=generator, device=frames.device)
        swapped = (die >= self.zero) & (die < self.zero + self.swap)
        index = torch.where(swapped, source, torch.arange(time, device=frames.device))
        altered = frames.gather(1, index[:, :, None].expand_as(frames))
        return altered.masked_fill((chosen & (die < self.zero))[:, :, None], 0.0), chosen

    def _widths(self, lengths: Tensor, generator: Generator) -> Tensor:
        if self.max_width is None:
            return torch.full_like(lengths, self.width)
        return self.width + below(torch.full_like(lengths, self.max_width - self.width + 1), generator)

    def _last_start(self, lengths: Tensor, width: Tensor) -> Tensor:
        """The last frame a block may start at."""
        return (lengths - width - (1 if self.policy == "s3prl" else 0)).clamp(min=0)

    def _block_count(self, lengths: Tensor, width: Tensor) -> Tensor:
        """How many blocks: the share of the frames over the width, half to even, as Python rounds."""
        count = (lengths.double() * self.time / width).round().long()
        if self.policy == "s3prl":
            return count
        return torch.where(lengths > width, count.clamp(min=1), 0)

    def _candidates(self, last_start: Tensor, width: Tensor, time: int, generator: Generator) -> Tensor:
        """Where blocks may start, boolean [B, T]."""
        step = torch.arange(time, device=last_start.device)
        allowed = step <= last_start[:, None]
        if self.overlap:
            return allowed
        first = below(torch.minimum(width, last_start) + 1, generator)[:, None]
        grid = (width * self.spacing).round().long().clamp(min=1)[:, None]
        return allowed & (step >= first) & ((step - first) % grid == 0)

    def _block_sources(
        self, starts: Tensor, used: Tensor, sources: Tensor, width: Tensor, lengths: Tensor, time: int
    ) -> tuple[Tensor, Tensor]:
        """For each frame, the frame that a swap takes it from (itself outside of blocks), and whether it lies in a block.

        Where blocks overlap, the later one in the drawn order wins, as sequential writing would have it. A block that is longer
        than its utterance ends with it, under both policies: padding is never labelled.
        """
        widest = self.max_width or self.width
        offset = torch.arange(widest, device=starts.device)
        place = starts[:, :, None] + offset
        inside = used[:, :, None] & (offset < width[:, None, None]) & (place < lengths[:, None, None])
        rank = torch.arange(place[0].numel(), device=starts.device).view(1, -1, widest).expand_as(place)
        # frames that no block writes keep -1; writes that do not count go to an extra frame, which is cut off
        winner = torch.full((len(starts), time + 1), -1, device=starts.device)
        winner.scatter_reduce_(1, place.masked_fill(~inside, time).flatten(1), rank.flatten(1), "amax")
        winner = winner[:, :time]
        chosen = winner >= 0
        block, within = winner.clamp(min=0) // widest, winner.clamp(min=0) % widest
        source = sources.gather(1, block) + within
        itself = torch.arange(time, device=starts.device)
        return torch.where(chosen, source.clamp(max=time - 1), itself), chosen

    def _band(self, frames: Tensor, generator: Generator) -> Tensor:
        """One band of bins per utterance, boolean [B, F]."""
        bins, device = frames.shape[2], frames.device
        widest = int(bins * self.freq)
        ones = torch.ones(len(frames), dtype=torch.long, device=device)
        if self.policy == "s3prl":
            width = below(ones * (widest + 1), generator)
            start = below(bins - width, generator)
        else:
            width = 1 + below(ones * widest, generator) if widest else 0 * ones
            start = below(bins - width + 1, generator)
        bin_ = torch.arange(bins, device=device)
        return (bin_ >= start[:, None]) & (bin_ < (start + width)[:, None])

    def _noise(self, frames: Tensor, valid: Tensor, generator: Generator) -> Tensor:
        dice = 1 if self.policy == "s3prl" else len(frames)
        on = torch.rand(dice, 1, 1, generator=generator, device=frames.device) < self.magnitude
        noise = torch.randn(frames.shape, generator=generator, device=frames.device, dtype=frames.dtype) * self.noise_std
        return noise * (on if self.policy == "s3prl" else on & valid)


def below(count: Int[Tensor, " batch"], generator: Generator) -> Int[Tensor, " batch"]:
    """A uniform integer in 0..count-1 for each count (0 where the count is 0)."""
    draw = torch.rand(count.shape, generator=generator, device=count.device)
    return torch.minimum((draw * count).long(), count - 1).clamp(min=0)


def distinct(
    candidates: Bool[Tensor, "batch time"], count: Int[Tensor, " batch"], most: int, generator: Generator
) -> tuple[Int[Tensor, "batch most"], Bool[Tensor, "batch most"]]:
    """Draw distinct positions uniformly, in random order, a different number for each item.

    Args:
        candidates: which positions may be drawn.
        count: how many each item wants; it gets fewer where it has fewer candidates.
        most: upper bound of `count`, known without asking the device.
        generator: source of randomness.

    Returns:
        Positions [B, most], and which of them are drawn (the rest are filler).
    """
    # random scores; the largest of the candidates are a random prefix of a random permutation
    score = torch.rand(candidates.shape, generator=generator, device=candidates.device).masked_fill(~candidates, -1.0)
    best, position = score.topk(most, dim=1)
    wanted = torch.arange(most, device=count.device) < count[:, None]
    return position, wanted & (best >= 0)
