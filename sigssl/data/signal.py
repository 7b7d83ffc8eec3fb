"""From a recording to the signal that models see: picked channels, one rate, filtered with zero phase, block by block.

The continuous record is resampled (soxr) and filtered, never single epochs, so that no epoch has edges of its own; each part
between two gaps stands for itself. Both steps are linear and time-invariant, so their order does not matter inside of the pass
band; resampling first costs less.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import soxr
from jaxtyping import Float32

from sigssl.data.fir import Block, design, filtered
from sigssl.data.montage import Montage, Pick
from sigssl.data.psg_base import PSG
from sigssl.errors import UserError

SECONDS = 300.0  # of a block: large enough for fast transforms, small against any memory
SETTLE = 2.0  # seconds beyond a filter's reach after which the resampler too has forgotten where it began

Rows = Float32[np.ndarray, "samples channels"]


@dataclass(frozen=True)
class Conditioning:
    """What is done to the samples.

    Attributes:
        sample_rate: of the result, in hertz.
        highpass: lower edge of the pass band in hertz, None for none. lowpass: upper edge.
        upsample: whether a channel of a lower rate is brought to this one; an error otherwise.
    """

    sample_rate: float = 100.0
    highpass: float | None = 0.3
    lowpass: float | None = 35.0
    upsample: bool = False


def read_signal(
    psg: PSG,
    montage: Montage,
    sample_rate: float = 100.0,
    highpass: float | None = 0.3,
    lowpass: float | None = 35.0,
    start: float = 0.0,
    end: float | None = None,
    *,
    upsample: bool = False,
) -> Rows:
    """Picked channels of a recording as one matrix.

    Args:
        psg: the recording.
        montage: the wanted channels.
        sample_rate: of the result, in hertz.
        highpass: lower edge of the pass band in hertz, None for none.
        lowpass: upper edge, None for none (the resampler still keeps what lies above half the rate out).
        start: seconds; what lies before still reaches into the filter, so that a part equals that part of the whole.
        end: seconds, None to the end.
        upsample: whether a channel of a lower rate is brought to this one; an error otherwise.

    Returns:
        Microvolts [samples, channels]; zeros in gaps.

    Raises:
        UserError: as :meth:`Montage.pick` and :meth:`PSG.read_many`; a channel of too low a rate; a filter that cannot be.
    """
    how = Conditioning(sample_rate, highpass, lowpass, upsample)
    return np.concatenate(list(signal_blocks(psg, montage.pick(psg), how, start, end)))


def signal_blocks(
    psg: PSG,
    picks: Sequence[Pick],
    how: Conditioning | None = None,
    start: float = 0.0,
    end: float | None = None,
    seconds: float = SECONDS,
) -> Iterator[Rows]:
    """:func:`read_signal` piece by piece, at a memory that does not grow with the night.

    Args:
        psg: the recording.
        picks: from :meth:`Montage.pick`.
        how: rate and filter.
        start: seconds.
        end: seconds, None to the end.
        seconds: of the file that are in memory at once.

    Yields:
        Microvolts [n, channels]; together round(end * rate) - round(start * rate) rows.
    """
    how = how or Conditioning()
    start, end = psg.span(start, end)
    for pick in picks:
        if pick.rate < how.sample_rate and not how.upsample:
            raise UserError(
                f"{psg.path}: {pick.name} ({pick.source}) has {pick.rate:g} samples per second, {how.sample_rate:g} asked for. "
                f"Nothing is upsampled unasked: ask for a lower sample_rate, for other channels, or for upsample."
            )
    taps = design(how.sample_rate, how.highpass, how.lowpass)
    reach = float(np.ceil(len(taps) / 2 / how.sample_rate + SETTLE))
    at, stop = round(start * how.sample_rate), round(end * how.sample_rate)
    for low, high in _parts(psg, start, end):
        first, last = max(np.floor(start - reach), low), min(np.ceil(end + reach), high)  # whole seconds keep resampling in phase
        here = round(float(first) * how.sample_rate)
        for rows in _conditioned(psg, picks, how, taps, float(first), float(last), seconds):
            skip, there = max(at - here, 0), min(here + len(rows), stop)
            if here > at:
                yield np.zeros((here - at, len(picks)), np.float32)
            if there > here + skip:
                yield rows[skip : there - here]
                at = there
            here += len(rows)
            if at >= stop:
                return
    if at < stop:
        yield np.zeros((stop - at, len(picks)), np.float32)


def _parts(psg: PSG, start: float, end: float) -> list[tuple[float, float]]:
    """The parts of a recording without gaps that lie in a span, at least in part."""
    edges = [0.0, *(edge for gap in psg.gaps for edge in gap), psg.duration]
    parts = zip(edges[::2], edges[1::2], strict=True)
    return [(low, high) for low, high in parts if high > start and low < end]


def _conditioned(
    psg: PSG, picks: Sequence[Pick], how: Conditioning, taps: np.ndarray, start: float, end: float, seconds: float
) -> Iterator[Rows]:
    count = round(end * how.sample_rate) - round(start * how.sample_rate)
    blocks = _resampled(psg, picks, how.sample_rate, start, end, seconds, count)
    for block in filtered(blocks, taps) if len(taps) > 1 else blocks:
        yield np.ascontiguousarray(block.T)


def _resampled(
    psg: PSG, picks: Sequence[Pick], rate: float, start: float, end: float, seconds: float, count: int
) -> Iterator[Block]:
    """Picks at one rate, [C, n]; `count` samples of each in all, whatever the resampler rounds."""
    streams = [_Resampler(pick.rate, rate) for pick in picks]
    held: list[np.ndarray] = [np.zeros(0, np.float32) for _ in picks]
    left = count
    for block, last in _with_last(_picked(psg, picks, start, end, seconds)):
        held = [np.concatenate([h, stream(x, last)]) for h, stream, x in zip(held, streams, block, strict=True)]
        ready = left if last else min(*map(len, held), left)
        if last:  # a sample more or less from rounding
            held = [np.pad(h, (0, max(left - len(h), 0)), mode="edge" if len(h) else "constant") for h in held]
        if ready:
            yield np.stack([h[:ready] for h in held])
        held, left = [h[ready:] for h in held], left - ready


def _picked(
    psg: PSG, picks: Sequence[Pick], start: float, end: float, seconds: float
) -> Iterator[list[Float32[np.ndarray, " samples"]]]:
    """Picks at their own rates: differences computed, signs applied."""
    names = list(dict.fromkeys(name for pick in picks for name in (pick.plus, *pick.minus)))
    for block in psg.blocks(names, seconds, start, end):
        signals = dict(zip(names, block, strict=True))
        made = []
        for pick in picks:
            signal = signals[pick.plus] if pick.sign > 0 else -signals[pick.plus]
            if pick.minus:
                signal = signal - np.mean([signals[name] for name in pick.minus], axis=0, dtype=np.float32)
            made.append(signal)
        yield made


def _with_last(items: Iterable[list[np.ndarray]]) -> Iterator[tuple[list[np.ndarray], bool]]:
    """Each item, and whether it is the last."""
    before = None
    for item in items:
        if before is not None:
            yield before, False
        before = item
    if before is not None:
        yield before, True


class _Resampler:
    """soxr (HQ) fed block by block; nothing where the rates are equal."""

    def __init__(self, source: float, target: float) -> None:
        self._stream = None if source == target else soxr.ResampleStream(source, target, 1, dtype="float32")

    def __call__(self, samples: Float32[np.ndarray, " samples"], last: bool) -> Float32[np.ndarray, " resampled"]:
        if self._stream is None:
            return samples
        return self._stream.resample_chunk(np.ascontiguousarray(samples), last=last)


def odd_scale(sd: float) -> str:
    """What is odd about a channel whose robust standard deviation is `sd` microvolts, "" for nothing.

    EEG, EOG and EMG of sleep have 5 to 100 microvolts; bounds far outside of these catch wrong units and dead electrodes only.
    """
    if sd == 0:
        return "flat: every sample is the same"
    if sd < 1e-3:
        return f"its standard deviation is {sd:.3g} uV: it looks like volts"
    if sd < 0.1:
        return f"its standard deviation is {sd:.3g} uV: it looks like millivolts, or like a dead electrode"
    return f"its standard deviation is {sd:.3g} uV: it looks like nanovolts, or like raw counts" if sd > 5000 else ""
