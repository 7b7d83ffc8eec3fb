"""What every feature is: a module from padded waveforms to padded frames, and the same for a signal of any length in blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sigssl.errors import UserError
from sigssl.features.cmvn import CMVN, Moments
from sigssl.features.deltas import Deltas
from sigssl.features.framing import CHUNK_ROWS, DEVICE_ROWS, Framing


class Extractor(nn.Module):
    """Waveform to frames. A feature says how it frames (`framing`) and what it makes of frames (`spectrum`).

    Output is float32 on the waveform's device, under autocast too, without gradient. Each item's frames depend on its own
    samples alone: what lies in the padding is never read, and frames behind an item's length are exactly 0.

    Attributes:
        dim: width of a frame.
        hop: samples from one frame to the next.
        sample_rate: in hertz.
    """

    def __init__(
        self,
        sample_rate: int,
        framing: Framing,
        width: int,
        *,
        loudness: float | None = None,
        deltas: Deltas | None = None,
        cmvn: CMVN = None,
    ) -> None:
        super().__init__()
        if cmvn not in (None, "mean", "utterance"):
            raise UserError(f"{type(self).__name__}: cmvn is {cmvn!r}; expected 'utterance' (mean and variance), 'mean' or none.")
        self.sample_rate = sample_rate
        self.framing = framing
        self.hop = framing.hop
        self.loudness = loudness
        self.deltas = deltas
        self.cmvn = cmvn
        self._set_width(width)
        self._constants: dict[torch.device, tuple[Tensor, ...]] = {}

    def _set_width(self, width: int) -> None:
        """Set the width before the derivatives."""
        self.width = width
        self.dim = width * (1 + (self.deltas.order if self.deltas else 0))

    def constants(self) -> tuple[Tensor, ...]:
        """Windows and matrices that `spectrum` multiplies by, float32 on the processor."""
        raise NotImplementedError

    def spectrum(self, frames: Tensor, power_gain: Tensor | None, constants: tuple[Tensor, ...]) -> Tensor:
        """Features [M, width] of frames [M, window]; the power of each row is to be multiplied by `power_gain` [M, 1]."""
        raise NotImplementedError

    def frame_count(self, samples: int | Tensor) -> int | Tensor:
        """Frames that a signal of `samples` samples gives."""
        return self.framing.count(samples)

    @torch.no_grad()
    def forward(
        self, waveform: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch frames dim"], Int[Tensor, " batch"]]:
        """Frames of a padded batch.

        Args:
            waveform: signals [B, S], nominally within [-1, 1].
            lengths: valid samples of each [B], on any device.

        Returns:
            frames float32 [B, T, F], T = frames of the longest possible item, and how many of them are valid [B].
        """
        lengths = lengths.to(waveform.device)
        with torch.autocast(waveform.device.type, enabled=False):
            make = self._on_processor if waveform.device.type == "cpu" else self._on_device
            frames, counts = make(waveform.float(), lengths)
            if self.deltas:
                frames = self.deltas(frames, counts)
            if self.cmvn:
                frames = normalise(frames, counts, variance=self.cmvn == "utterance")
        return frames, counts

    @torch.no_grad()
    def stream(self, blocks: Callable[[], Iterator[Float[Tensor, " n"]]]) -> Iterator[Float[Tensor, "frames dim"]]:
        """The frames of one signal of any length at bounded memory, the same as `forward` gives.

        Args:
            blocks: called for a fresh iterator over the signal in pieces [n] of any size; once for each statistic of the
                whole utterance (loudness, CMVN) and once for the frames.

        Yields:
            frames [t, F] in order, on the processor.
        """
        gain = self._stream_gain(blocks)
        if self.cmvn is None:
            yield from self._stream_frames(blocks, gain)
            return
        moments = Moments(self.dim)
        for frames in self._stream_frames(blocks, gain):
            moments.add(frames)
        mean, scale = moments.standardisation(variance=self.cmvn == "utterance")
        for frames in self._stream_frames(blocks, gain):
            yield (frames - mean) * scale

    def _stream_gain(self, blocks: Callable[[], Iterator[Tensor]]) -> Tensor | None:
        if self.loudness is None:
            return None
        total, samples = 0.0, 0
        for block in blocks():
            total += float(block.double().square().sum())
            samples += len(block)
        return torch.tensor([[self._power_gain(total / max(samples, 1))]])

    def _stream_frames(self, blocks: Callable[[], Iterator[Tensor]], gain: Tensor | None) -> Iterator[Tensor]:
        constants = self._constants_on(torch.device("cpu"))
        rows = (self.spectrum(frames, gain, constants) for frames in self.framing.stream(blocks))
        return self.deltas.stream(rows) if self.deltas else rows

    def _power_gain(self, mean_square: float) -> float:
        """What the power is multiplied by so that the root of the mean square is at `loudness` dB (s3prl's rule)."""
        assert self.loudness is not None
        return (10 ** (self.loudness / 20) / (math.sqrt(mean_square) + 1e-10)) ** 2

    def _constants_on(self, device: torch.device) -> tuple[Tensor, ...]:
        if device not in self._constants:
            self._constants[device] = tuple(c.to(device, torch.float32) for c in self.constants())
        return self._constants[device]

    def _on_processor(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Only valid frames are computed, in chunks that stay in the cache."""
        counts = self.framing.count(lengths)
        frames = torch.zeros(len(lengths), self.framing.count(waveform.shape[1]), self.width)
        constants = self._constants_on(waveform.device)
        gains = None
        if self.loudness is not None:
            powers = [waveform[i, :n].square().sum(dtype=torch.float64).item() / max(n, 1) for i, n in enumerate(lengths.tolist())]
            gains = [self._power_gain(p) for p in powers]
        for rows, pieces in self.framing.chunks(waveform, lengths, CHUNK_ROWS):
            gain = None
            if gains is not None:
                gain = torch.ones(len(rows), 1)
                for piece in pieces:
                    gain[piece.row : piece.row + piece.frames] = gains[piece.item]
            made = self.spectrum(rows, gain, constants)
            for item, first, count, row in pieces:
                frames[item, first : first + count] = made[row : row + count]
        return frames, counts

    def _on_device(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """All frames of the padded grid at once; nothing waits for the device."""
        batch, total = len(lengths), self.framing.count(waveform.shape[1])
        counts = self.framing.count(lengths)
        if total == 0 or batch == 0:
            return waveform.new_zeros(batch, total, self.width), counts
        flat, slot = self.framing.grid(waveform, lengths)
        view = self.framing.view(flat, batch * slot)
        gain = None
        if self.loudness is not None:
            valid = torch.arange(waveform.shape[1], device=waveform.device) < lengths[:, None]
            mean_square = waveform.square().masked_fill_(~valid, 0).sum(1, dtype=torch.float64) / lengths.clamp(min=1)
            gain = (10 ** (self.loudness / 20) / (mean_square.sqrt() + 1e-10)).square().float()
            gain = gain[:, None].expand(-1, slot).reshape(-1, 1)
        constants = self._constants_on(waveform.device)
        made = [
            self.spectrum(view[r : r + DEVICE_ROWS], None if gain is None else gain[r : r + DEVICE_ROWS], constants)
            for r in range(0, len(view), DEVICE_ROWS)
        ]
        frames = torch.cat(made).view(batch, slot, self.width)[:, :total]
        valid = torch.arange(total, device=waveform.device) < counts[:, None]
        return torch.where(valid[..., None], frames, 0.0), counts


def normalise(frames: Tensor, lengths: Tensor, *, variance: bool) -> Tensor:
    """Per-utterance mean and, if asked, variance normalisation over valid frames; the padding stays 0.

    `(x - mean) / (std + 1e-10)` with the unbiased std, which is taken as 0 where there is one frame only.
    """
    valid = (torch.arange(frames.shape[1], device=frames.device) < lengths[:, None])[..., None]
    count = lengths.clamp(min=1)[:, None, None]
    centred = torch.where(valid, frames - frames.sum(1, keepdim=True) / count, 0.0)
    if not variance:
        return centred
    std = (centred.square().sum(1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    return centred / (std + 1e-10)
