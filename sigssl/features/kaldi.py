"""Kaldi's filterbank and cepstral features (`compute-fbank-feats`, `compute-mfcc-feats`)."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sigssl.errors import UserError
from sigssl.features.base import CMVN, Extractor
from sigssl.features.cpp import Recipe
from sigssl.features.deltas import Deltas
from sigssl.features.framing import Framing
from sigssl.features.spectral import Filters, Tables, mel_filters, power_spectrum, require_filled, window

EPSILON = torch.finfo(torch.float32).eps  # what Kaldi floors energies at before the logarithm


class KaldiFbank(Extractor):
    """Log mel energies exactly as Kaldi computes them; the defaults are Kaldi's, but for `dither` 0.

    Per frame: remove the mean, pre-emphasise, window, zero-pad to a power of two, power spectrum, triangles that are linear in mel
    with the Nyquist bin left out, `log(max(x, 1.19e-7))`.

    Args:
        n_mels: filters; Kaldi's own default is 23, most recipes take 80.
        sample_rate: hertz.
        window_ms: frame length.
        hop_ms: frame shift.
        window_type: "povey", "hamming", "hann", "blackman" or "rectangular".
        preemphasis: coefficient.
        remove_dc: subtract each frame's mean.
        snip_edges: True: only whole frames, `1 + (N - window) // hop`; False: `(N + hop / 2) // hop`, reflected at the ends.
        low_hz: lowest corner of the filters.
        high_hz: highest; 0 or less counts from half the sample rate downwards.
        use_energy: put the log energy before the filters (after them with `htk_compat`).
        raw_energy: take it before pre-emphasis and window.
        energy_floor: lower bound of the energy; 0 for none.
        htk_compat: HTK's order of the energy.
        use_log: logarithm of the energies.
        use_power: power spectrum rather than magnitude.
        scale: what samples in [-1, 1] are multiplied by; 32768 gives Kaldi's 16-bit integers, 1 is what torchaudio and s3prl take.
        dither: standard deviation of the noise added to the scaled samples, drawn once per sample (Kaldi: per frame).
        deltas: derivatives to append, before the CMVN.
        cmvn: "utterance" (mean and variance), "mean", a :class:`sigssl.features.GlobalCMVN` (fixed, of a corpus), or None.
    """

    def __init__(
        self,
        n_mels: int = 23,
        sample_rate: int = 16000,
        window_ms: float = 25.0,
        hop_ms: float = 10.0,
        window_type: str = "povey",
        preemphasis: float = 0.97,
        remove_dc: bool = True,
        snip_edges: bool = True,
        low_hz: float = 20.0,
        high_hz: float = 0.0,
        use_energy: bool = False,
        raw_energy: bool = True,
        energy_floor: float = 0.0,
        htk_compat: bool = False,
        use_log: bool = True,
        use_power: bool = True,
        scale: float = 32768.0,
        dither: float = 0.0,
        deltas: Deltas | None = None,
        cmvn: CMVN = None,
    ) -> None:
        framing = kaldi_framing(sample_rate, window_ms, hop_ms, snip_edges)
        super().__init__(sample_rate, framing, n_mels + use_energy, deltas=deltas, cmvn=cmvn)
        self.n_mels = n_mels
        self.window_ms = window_ms
        self.hop_ms = hop_ms
        self.window_type = window_type
        self.preemphasis = preemphasis
        self.remove_dc = remove_dc
        self.snip_edges = snip_edges
        self.low_hz = low_hz
        self.high_hz = high_hz
        self.use_energy = use_energy
        self.raw_energy = raw_energy
        self.energy_floor = energy_floor
        self.htk_compat = htk_compat
        self.use_log = use_log
        self.use_power = use_power
        self.scale = scale
        self.dither = dither
        self._taper = window(window_type, framing.window) * scale
        self._size = 1 << (framing.window - 1).bit_length()
        high = high_hz if high_hz > 0 else sample_rate / 2 + high_hz
        filters = mel_filters(n_mels, self._size, sample_rate, low_hz, high, linear_in="mel")
        filters[-1] = 0  # Kaldi leaves the Nyquist bin out
        self._filters = require_filled(filters, self._size, sample_rate)

    def forward(
        self,
        waveform: Float[Tensor, "batch samples"],
        lengths: Int[Tensor, " batch"],
        generator: torch.Generator | None = None,
    ) -> tuple[Float[Tensor, "batch frames dim"], Int[Tensor, " batch"]]:
        """As :meth:`Extractor.forward`; `generator` (on the waveform's device) draws the dither, if there is any."""
        if self.dither:
            noise = torch.randn(waveform.shape, generator=generator, device=waveform.device)
            waveform = waveform.float() + noise * (self.dither / self.scale)
        return super().forward(waveform, lengths)

    def stream(self, blocks: Any) -> Any:
        """As :meth:`Extractor.stream`, which reads a signal several times and therefore takes no dither."""
        if self.dither:
            raise UserError(f"{type(self).__name__}: dither {self.dither:g} cannot be streamed; expected 0.")
        return super().stream(blocks)

    def tables(self, device: torch.device) -> Tables:
        """Window with the scale in it, [window], and filters."""
        return Tables(self._taper.to(device, torch.float32), Filters(self._filters, device))

    def recipe(self) -> Recipe:
        """What `spectrum` does."""
        return Recipe(
            self._size,
            EPSILON,
            add_floor=False,
            logarithm=self.use_log,
            magnitude=not self.use_power,
            kaldi=True,
            remove_dc=self.remove_dc,
            preemphasis=self.preemphasis,
            energy="none" if not self.use_energy else "raw" if self.raw_energy else "windowed",
            energy_scale=self.scale,
            energy_floor=self.energy_floor,
            energy_column=self.n_mels if self.htk_compat else 0,
            first_column=int(self.use_energy and not self.htk_compat),
        )

    def spectrum(self, frames: Tensor, tables: Tables) -> Tensor:
        """Filter energies, with the log energy where it is asked for."""
        energies, log_energy = self._energies(frames, tables)
        if self.use_log:
            energies = energies.clamp_(min=EPSILON).log_()
        if log_energy is None:
            return energies
        return torch.cat([energies, log_energy] if self.htk_compat else [log_energy, energies], 1)

    def _energies(self, frames: Tensor, tables: Tables) -> tuple[Tensor, Tensor | None]:
        """Filter energies [M, n_mels] and, with `use_energy`, the log energy [M, 1]."""
        assert tables.filters is not None
        mean = frames.mean(1, keepdim=True) if self.remove_dc else frames.new_zeros(len(frames), 1)
        padded = self._shaped(frames, mean, tables.taper)
        log_energy = None
        if self.use_energy:
            log_energy = self._log_energy((frames - mean).mul_(self.scale) if self.raw_energy else padded)
        power = power_spectrum(padded, self._size)
        return tables.filters(power if self.use_power else power.sqrt_()), log_energy

    def _shaped(self, frames: Tensor, mean: Tensor, taper: Tensor) -> Tensor:
        """`taper (d[i] - preemphasis d[i - 1])` of `d = frames - mean`, with `d[-1] = d[0]`, zero-padded: [M, n_fft].

        Multiplied out, so that each term is one pass over the frames.
        """
        padded = frames.new_empty(len(frames), self._size)
        padded[:, frames.shape[1] :] = 0
        shaped = padded[:, : frames.shape[1]]
        torch.mul(frames, taper, out=shaped)
        rest = 1 - self.preemphasis
        if self.preemphasis:
            shaped[:, 1:].addcmul_(frames[:, :-1], taper[1:], value=-self.preemphasis)
            shaped[:, 0] *= rest
        if self.remove_dc:
            shaped.addcmul_(mean, taper, value=-rest)
        return padded

    def _log_energy(self, frames: Tensor) -> Tensor:
        energy = frames.square().sum(1, keepdim=True).clamp_(min=EPSILON).log_()
        return energy.clamp_(min=math.log(self.energy_floor)) if self.energy_floor > 0 else energy


class MFCC(KaldiFbank):
    """Mel cepstra exactly as Kaldi computes them; the defaults are Kaldi's, but for `dither` 0.

    Args:
        n_ceps: coefficients, with the zeroth (or the log energy in its place).
        lifter: cepstral liftering `1 + lifter / 2 sin(pi i / lifter)`; 0 for none.
        use_energy: put the log energy in place of the zeroth coefficient.
        htk_compat: zeroth coefficient or energy last, the former times sqrt(2).
        n_mels, sample_rate, window_ms, hop_ms, window_type, preemphasis, remove_dc, snip_edges, low_hz, high_hz, raw_energy,
            energy_floor, scale, dither, deltas, cmvn: as for :class:`KaldiFbank`.
    """

    def __init__(
        self,
        n_ceps: int = 13,
        lifter: float = 22.0,
        n_mels: int = 23,
        sample_rate: int = 16000,
        window_ms: float = 25.0,
        hop_ms: float = 10.0,
        window_type: str = "povey",
        preemphasis: float = 0.97,
        remove_dc: bool = True,
        snip_edges: bool = True,
        low_hz: float = 20.0,
        high_hz: float = 0.0,
        use_energy: bool = True,
        raw_energy: bool = True,
        energy_floor: float = 0.0,
        htk_compat: bool = False,
        scale: float = 32768.0,
        dither: float = 0.0,
        deltas: Deltas | None = None,
        cmvn: CMVN = None,
    ) -> None:
        if not 1 <= n_ceps <= n_mels:
            raise UserError(f"MFCC: n_ceps is {n_ceps}; expected 1 to n_mels = {n_mels}.")
        super().__init__(
            n_mels=n_mels,
            sample_rate=sample_rate,
            window_ms=window_ms,
            hop_ms=hop_ms,
            window_type=window_type,
            preemphasis=preemphasis,
            remove_dc=remove_dc,
            snip_edges=snip_edges,
            low_hz=low_hz,
            high_hz=high_hz,
            use_energy=use_energy,
            raw_energy=raw_energy,
            energy_floor=energy_floor,
            htk_compat=htk_compat,
            scale=scale,
            dither=dither,
            deltas=deltas,
            cmvn=cmvn,
        )
        self.n_ceps = n_ceps
        self.lifter = lifter
        self.width = n_ceps
        self.dim = n_ceps * (1 + (deltas.order if deltas else 0))

    def tables(self, device: torch.device) -> Tables:
        """As for the filterbank, and the cosine transform with the lifter in it [n_mels, n_ceps]."""
        k = torch.arange(self.n_ceps, dtype=torch.float64)
        middle = torch.arange(self.n_mels, dtype=torch.float64)[:, None] + 0.5
        cosines = torch.cos(math.pi / self.n_mels * middle * k) * math.sqrt(2 / self.n_mels)
        cosines[:, 0] = math.sqrt(1 / self.n_mels)
        if self.lifter:
            cosines = cosines * (1 + self.lifter / 2 * torch.sin(math.pi * k / self.lifter))
        if self.htk_compat and not self.use_energy:
            cosines[:, 0] *= math.sqrt(2)
        return super().tables(device)._replace(cosines=cosines.to(device, torch.float32))

    def recipe(self) -> Recipe:
        """What `spectrum` does."""
        column = self.n_ceps - 1 if self.htk_compat else 0
        return super().recipe()._replace(energy_column=column, first_column=0, rotated=self.htk_compat)

    def spectrum(self, frames: Tensor, tables: Tables) -> Tensor:
        """Cepstra [M, n_ceps]."""
        energies, log_energy = self._energies(frames, tables)
        assert tables.cosines is not None
        cepstra = energies.clamp_(min=EPSILON).log_() @ tables.cosines
        if log_energy is not None:
            cepstra[:, :1] = log_energy
        return torch.cat([cepstra[:, 1:], cepstra[:, :1]], 1) if self.htk_compat else cepstra


def kaldi_framing(sample_rate: int, window_ms: float, hop_ms: float, snip_edges: bool) -> Framing:
    """Kaldi's frames: samples truncated to whole numbers; without `snip_edges` frame t is centred on `(t + 1/2) hop`."""
    length, hop = int(sample_rate * 0.001 * window_ms), int(sample_rate * 0.001 * hop_ms)
    if snip_edges:
        return Framing(length, hop)
    left = length // 2 - hop // 2
    right = length - hop + hop // 2 - left
    return Framing(length, hop, left, right, repeat_edge=True)
