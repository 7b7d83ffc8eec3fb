"""What every feature is: a module from padded waveforms to padded frames, and the same for a signal of any length in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sigssl.errors import UserError
from sigssl.features import cpp
from sigssl.features.cmvn import GlobalCMVN, Moments, normalise
from sigssl.features.deltas import Deltas
from sigssl.features.framing import CHUNK_ROWS, DEVICE_ROWS, Framing
from sigssl.features.spectral import Tables, full_precision
from sigssl.native.library import Kernels

CMVN = Literal["utterance", "mean"] | GlobalCMVN | None


class Extractor(nn.Module):
    """Waveform to frames. A feature says how it frames (`framing`) and what it makes of frames (`tables`, `spectrum`).

    Output is float32 on the waveform's device, under autocast too, and without gradient. Each item's frames depend on its own
    samples alone: what lies in the padding is never used, and frames behind an item's length are exactly 0.

    Args:
        sample_rate: hertz.
        framing: how signals are cut into frames.
        width: of a frame, before derivatives.
        loudness: root mean square in dB re 1 that each utterance is scaled to first, or None.
        deltas: derivatives to append.
        cmvn: "utterance" (mean and variance), "mean", a :class:`GlobalCMVN`, or None; after the derivatives.

    Attributes:
        dim: width of a frame.
        hop: samples from one frame to the next.
        sample_rate: hertz.
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
        if not (cmvn in (None, "mean", "utterance") or isinstance(cmvn, GlobalCMVN)):
            raise UserError(
                f"{type(self).__name__}: cmvn is {cmvn!r}; expected 'utterance' (mean and variance), 'mean', a "
                f"GlobalCMVN (fixed statistics) or none."
            )
        if min(framing.window, framing.hop) < 1:
            raise UserError(
                f"{type(self).__name__}: a window of {framing.window} and a hop of {framing.hop} samples at {sample_rate} Hz; "
                f"expected at least 1 of each."
            )
        self.sample_rate = sample_rate
        self.framing = framing
        self.hop = framing.hop
        self.width = width
        self.loudness = loudness
        self.deltas = deltas
        self.cmvn = cmvn
        self.dim = width * (1 + (deltas.order if deltas else 0))
        if isinstance(cmvn, GlobalCMVN) and len(cmvn.mean) != self.dim:
            raise UserError(
                f"{type(self).__name__}: cmvn has statistics of {len(cmvn.mean)} dimensions; the features have {self.dim}."
            )
        self._tables: dict[torch.device, Tables] = {}
        self._plan: list[cpp.Plan | None] = []  # one, once it is made

    def tables(self, device: torch.device) -> Tables:
        """Window and matrices that `spectrum` multiplies by; called once per device."""
        raise NotImplementedError

    def spectrum(self, frames: Tensor, tables: Tables) -> Tensor:
        """Features [M, width] of frames [M, window], a view that must not be written to."""
        raise NotImplementedError

    def recipe(self) -> cpp.Recipe | None:
        """What `spectrum` does, for the C++ engine; None: what only `spectrum` itself can say."""
        return None

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
            frames float32 [B, T, F], T = frames that S samples give, and how many of them are valid [B].
        """
        lengths = lengths.to(waveform.device)
        if waveform.device.type == "cpu" and len(lengths) and (longest := int(lengths.max())) > waveform.shape[1]:
            raise UserError(
                f"{type(self).__name__}: a length of {longest} samples; the waveform has {waveform.shape[1]}: expected no more."
            )
        with full_precision(waveform.device):
            compute = self._on_processor if waveform.device.type == "cpu" else self._on_device
            frames, counts = compute(waveform.detach().float(), lengths)
            if self.deltas:
                frames = self.deltas(frames, counts)
            if isinstance(self.cmvn, GlobalCMVN):
                frames = self.cmvn(frames, counts)
            elif self.cmvn:
                frames = normalise(frames, counts, variance=self.cmvn == "utterance")
        return frames, counts

    def stream(self, blocks: Callable[[], Iterator[Float[Tensor, " n"]]]) -> Iterator[Float[Tensor, "frames dim"]]:
        """The frames of one signal of any length at bounded memory, the same as `forward` gives.

        Args:
            blocks: called for a fresh iterator over the signal in pieces [n] of any size; once for each statistic of the
                whole utterance (loudness, CMVN) and once for the frames.

        Yields:
            frames [t, F] in order, on the processor.
        """
        gain = 1.0
        if self.loudness is not None:
            energy, samples = 0.0, 0
            for block in blocks():
                energy += _energy(block.float())
                samples += len(block)
            gain = self._gain(energy, samples)
        if isinstance(self.cmvn, GlobalCMVN):
            yield from map(self.cmvn.apply_to, self._frames(blocks, gain))
        elif self.cmvn is None:
            yield from self._frames(blocks, gain)
        else:
            moments = Moments(self.dim)
            for frames in self._frames(blocks, gain):
                moments.add(frames)
            mean, scale = moments.standardisation(variance=self.cmvn == "utterance")
            for frames in self._frames(blocks, gain):
                yield (frames - mean) * scale

    def _frames(self, blocks: Callable[[], Iterator[Tensor]], gain: float) -> Iterator[Tensor]:
        """Frames of a signal in blocks, before the CMVN."""
        rows = self.framing.stream(block.float() * gain for block in blocks())
        frames = map(self._row_spectrum, rows)
        return self.deltas.stream(frames) if self.deltas else frames

    @torch.no_grad()
    def _row_spectrum(self, rows: Tensor) -> Tensor:
        if rows.device.type == "cpu" and (engine := self._engine()):
            return engine[0].rows(rows, engine[1])
        with full_precision(rows.device):
            return self.spectrum(rows, self._tables_on(rows.device))

    def _tables_on(self, device: torch.device) -> Tables:
        if device not in self._tables:
            self._tables[device] = self.tables(device)
        return self._tables[device]

    def _engine(self) -> tuple[cpp.Plan, Kernels] | None:
        """The C++ engine and what it needs to know of this feature, where it can stand in for `spectrum`."""
        kernels = cpp.kernels()
        if kernels is None:
            return None
        if not self._plan:
            kinds = type(self).__mro__
            defines = [next(kind for kind in kinds if name in vars(kind)) for name in ("spectrum", "recipe")]
            recipe = self.recipe() if defines[0] is defines[1] else None  # a subclass may define spectrum anew
            tables = self._tables_on(torch.device("cpu"))
            self._plan.append(recipe and cpp.Plan.of(self.framing, self.width, tables, recipe))
        return (self._plan[0], kernels) if self._plan[0] else None

    def _gain(self, energy: float, samples: int) -> float:
        """What brings a signal with this sum of squares to `loudness` (s3prl's rule: 1e-10 is added to the root mean square)."""
        if self.loudness is None:
            return 1.0
        return 10 ** (self.loudness / 20) / ((energy / max(samples, 1)) ** 0.5 + 1e-10)

    def _on_processor(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Only valid frames are computed, in chunks that stay in the cache."""
        counts = self.framing.count(lengths)
        if engine := self._engine():
            plan, kernels = engine
            scale = None if self.loudness is None else self._gains(cpp.energies(waveform, lengths, kernels), lengths)
            return plan.batch(waveform, lengths, scale, kernels), counts
        frames = torch.empty(len(lengths), self.framing.count(waveform.shape[1]), self.width)
        target = frames.numpy()
        gains = [1.0] * len(lengths)
        if self.loudness is not None:
            gains = [self._gain(_energy(x[:n]), n) for x, n in zip(waveform, lengths.tolist(), strict=True)]
        tables, rows = self._tables_on(waveform.device), CHUNK_ROWS * torch.get_num_threads()
        for chunk, pieces in self.framing.chunks(waveform, lengths, gains, rows):
            made = self.spectrum(chunk, tables).numpy()
            for item, first, length, row in pieces:
                target[item, first : first + length] = made[row : row + length]
        for item, length in enumerate(counts.tolist()):
            target[item, length:] = 0
        return frames, counts

    def _gains(self, energy: Tensor, lengths: Tensor) -> Tensor:
        """`_gain` of each item [B], float32."""
        gains = [self._gain(*item) for item in zip(energy.tolist(), lengths.tolist(), strict=True)]
        return torch.tensor(gains, dtype=torch.float32)

    def _on_device(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """All frames of the padded grid at once; nothing waits for the device."""
        batch, total = len(lengths), self.framing.count(waveform.shape[1])
        counts = self.framing.count(lengths)
        if total == 0 or batch == 0:
            return waveform.new_zeros(batch, total, self.width), counts
        if self.loudness is not None:
            valid = torch.arange(waveform.shape[1], device=waveform.device) < lengths[:, None]
            rms = torch.where(valid, waveform, 0.0).square().sum(1).div(lengths.clamp(min=1)).sqrt()
            waveform = waveform * (10 ** (self.loudness / 20) / (rms + 1e-10))[:, None]
        flat, slot = self.framing.grid(waveform, lengths)
        view = self.framing.view(flat, batch * slot)
        tables = self._tables_on(waveform.device)
        made = [self.spectrum(view[row : row + DEVICE_ROWS], tables) for row in range(0, len(view), DEVICE_ROWS)]
        frames = torch.cat(made).view(batch, slot, self.width)[:, :total]
        valid = torch.arange(total, device=waveform.device) < counts[:, None]
        return torch.where(valid[..., None], frames, 0.0), counts


def _energy(signal: Tensor) -> float:
    """Sum of squares [n]; in double precision from one stretch to the next."""
    return sum(float(torch.dot(part, part)) for part in signal.split(1 << 15))
