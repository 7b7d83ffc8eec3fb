"""Reading recordings: WAV, FLAC, OGG, MP3 and what else libsndfile reads, whole or a segment, resampled by soxr.

Channel policy: one channel is read, the first unless another is named; `"mean"` averages them and `"all"` keeps them. Nothing is
mixed unasked: the mean of a headset and a room microphone, or of two telephone sides, is no recording of either.

Samples are float32 in [-1, 1]. A segment is cut at the file's own rate, then resampled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32

from sigssl.data.opening import opened, reason
from sigssl.errors import UserError

Channel = int | Literal["mean", "all"]
OVERSHOOT = 0.5  # seconds that a segment may end behind the recording; the same tolerance as Kaldi's extract-segments


class AudioInfo(NamedTuple):
    """What a header declares; `samples` per channel, `duration` in seconds."""

    sample_rate: int
    channels: int
    samples: int
    duration: float


def info(path: str | Path) -> AudioInfo:
    """Read a recording's header; nothing is decoded.

    Raises:
        UserError: missing, empty, no audio, or a WAV file shorter than its header declares.
    """
    with opened(path) as file:
        return _info(file)


def read(
    path: str | Path, start: float = 0.0, end: float | None = None, sample_rate: int | None = None, channel: Channel = 0
) -> Float32[np.ndarray, "channels samples"]:
    """Read a recording, or the part between two times, without decoding the rest (where the format can seek: all but pipes).

    Args:
        path: the file.
        start: seconds.
        end: seconds, None to the end; up to 0.5 s behind the recording it is cut to it, as Kaldi does.
        sample_rate: resample to this rate in hertz; None keeps the file's.
        channel: an index, "mean" or "all".

    Returns:
        Samples [C, S] in [-1, 1]; C is 1 but for "all".

    Raises:
        UserError: missing, empty, truncated or broken file, NaN or infinite samples, a segment outside of the recording, a channel
            that it lacks. The file and the place are named.
    """
    samples = read_with_info(path, start, end, sample_rate, channel)[1]
    assert samples is not None
    return samples


def read_with_info(
    path: str | Path,
    start: float = 0.0,
    end: float | None = None,
    sample_rate: int | None = None,
    channel: Channel = 0,
    longest: float = math.inf,
) -> tuple[AudioInfo, Float32[np.ndarray, "channels samples"] | None]:
    """:func:`info` and :func:`read` in one opening, which for short files costs as much as the decoding.

    Args:
        path: the file.
        start: seconds.
        end: seconds, None to the end.
        sample_rate: resample to this rate in hertz.
        channel: an index, "mean" or "all".
        longest: seconds; of a longer part nothing is decoded, and None given in its place.

    Returns:
        What the header of the whole file declares (at the file's own rate), and the samples.

    Raises:
        UserError: as :func:`read`.
    """
    with opened(path) as file:
        about = _info(file)
        first, stop = _bounds(path, file, start, end)
        if stop - first > longest * about.sample_rate:
            return about, None
        if first:
            _seek(path, file, first)
        samples = _pick(path, _decode(path, file, stop - first, first), channel)
    if sample_rate is None or sample_rate == about.sample_rate:
        return about, samples
    # the streaming resampler, as in blocks(): what is read whole and what is read in blocks is then the same, bit for bit
    return about, _Resampler(about.sample_rate, sample_rate, len(samples))(samples, True)


def blocks(
    path: str | Path,
    seconds: float,
    sample_rate: int | None = None,
    channel: Channel = 0,
    start: float = 0.0,
    end: float | None = None,
) -> Iterator[Float32[np.ndarray, "channels samples"]]:
    """Read a recording, or the part between two times, block by block at bounded memory; joined they equal :func:`read`.

    Args:
        path: the file.
        seconds: length of a block in the file; the blocks that come out of the resampler vary a little around it.
        sample_rate: resample to this rate in hertz; None keeps the file's.
        channel: an index, "mean" or "all".
        start: seconds.
        end: seconds, None to the end.

    Yields:
        Samples [C, s], none of them empty.

    Raises:
        UserError: as :func:`read`.
    """
    with opened(path) as file:
        rate = file.samplerate
        begin, stop = _bounds(path, file, start, end)
        size = max(1, round(seconds * rate))
        resample = None
        if begin:
            _seek(path, file, begin)
        for first in range(begin, stop, size):
            last = first + size >= stop
            block = _pick(path, _decode(path, file, min(size, stop - first), first), channel)
            if sample_rate is not None and sample_rate != rate:
                resample = resample or _Resampler(rate, sample_rate, len(block))
                block = resample(block, last)
            if block.shape[1]:
                yield block


def _info(file: soundfile.SoundFile) -> AudioInfo:
    return AudioInfo(file.samplerate, file.channels, file.frames, file.frames / file.samplerate)


def _bounds(path: str | Path, file: soundfile.SoundFile, start: float, end: float | None) -> tuple[int, int]:
    rate, total = file.samplerate, file.frames
    first, stop = round(start * rate), total if end is None else round(end * rate)
    if first < 0 or first >= total or stop <= first or stop > total + OVERSHOOT * rate:
        raise UserError(
            f"{path}: the segment from {start} s to {'the end' if end is None else f'{end} s'} is outside of the recording, "
            f"which lasts {total / rate:.3f} s. Correct its line in segments or remove it."
        )
    return first, min(stop, total)


def _seek(path: str | Path, file: soundfile.SoundFile, first: int) -> None:
    try:
        file.seek(first)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise _truncated(path, file, first, reason(error)) from None


def _decode(path: str | Path, file: soundfile.SoundFile, count: int, first: int) -> Float32[np.ndarray, "samples channels"]:
    """Decode `count` samples from where the file stands, `first`; short or broken data and NaN are errors."""
    try:
        samples = file.read(count, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise _truncated(path, file, first, reason(error)) from None
    if len(samples) < count:
        raise _truncated(path, file, first + len(samples), "the data end there")
    if file.subtype in ("FLOAT", "DOUBLE") and not np.isfinite(samples).all():  # integers and codecs have no NaN
        bad = ~np.isfinite(samples).all(axis=1)
        raise UserError(
            f"{path}: {int(bad.sum())} samples are NaN or infinite, the first at "
            f"{(first + int(bad.argmax())) / file.samplerate:.3f} s. "
            f"Write the file anew from its source or remove it from the data."
        )
    return samples


def _pick(
    path: str | Path, samples: Float32[np.ndarray, "samples file_channels"], channel: Channel
) -> Float32[np.ndarray, "channels samples"]:
    there = samples.shape[1]
    if channel == "all":
        return np.ascontiguousarray(samples.T)
    if channel == "mean":
        return samples.mean(axis=1, dtype=np.float32)[None]
    if not isinstance(channel, int) or not 0 <= channel < there:
        raise UserError(f"{path}: no channel {channel!r}; it has {there}. Expected 0 to {there - 1}, 'mean' or 'all'.")
    return np.ascontiguousarray(samples[:, channel])[None]


class _Resampler:
    """soxr (HQ) from one rate to another, fed block by block."""

    def __init__(self, source: int, target: int, channels: int) -> None:
        self._stream = soxr.ResampleStream(source, target, channels, dtype="float32")

    def __call__(self, samples: Float32[np.ndarray, "channels samples"], last: bool) -> Float32[np.ndarray, "channels resampled"]:
        made = self._stream.resample_chunk(np.ascontiguousarray(samples.T), last=last)
        return np.ascontiguousarray(made.T)


def _truncated(path: str | Path, file: soundfile.SoundFile, at: int, why: str) -> UserError:
    rate = file.samplerate
    return UserError(
        f"{path}: truncated or damaged: {file.frames} samples ({file.frames / rate:.3f} s) declared, but decoding fails "
        f"after {at / rate:.3f} s ({why}). Fetch it again or remove it from the data."
    )
