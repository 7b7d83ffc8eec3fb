"""Reading ahead, batches of like length, and what is said about a recording."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sigssl.data.datadir import Utterance
from sigssl.errors import UserError
from sigssl.extract.reading import Clip, Reading, ahead, batches, gather, padded, read_clip, read_clips
from sigssl.extract.shards import Bad


def utterance(path: Path, start: float = 0.0, end: float | None = None) -> Utterance:
    return Utterance(path.stem, str(path), start, end, None, None)


def clip(samples: int) -> Clip:
    return Clip(utterance(Path(f"{samples}.wav")), Reading(100), samples / 100, np.zeros(samples, np.float32))


@settings(deadline=None)
@given(st.lists(st.integers(1, 500), max_size=40), st.integers(1, 1500))
def test_batches_hold_every_clip_once_and_no_more_than_they_may(lengths: list[int], samples: int) -> None:
    made = list(batches(map(clip, lengths), samples))
    assert sorted(len(c) for batch in made for c in batch) == sorted(lengths)
    assert all(len(batch) == 1 or max(map(len, batch)) * len(batch) <= samples for batch in made)


def test_gathering_is_bounded_in_seconds() -> None:
    made = list(gather(map(clip, [100] * 10), 2.5))
    assert [len(clips) for clips in made] == [3, 3, 3, 1]


def test_padding_is_zero_and_lengths_are_told() -> None:
    signals, lengths = padded([clip(3), clip(5)])
    assert signals.shape == (2, 5)
    assert lengths.tolist() == [3, 5]


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "stereo.wav"
    soundfile.write(path, rng.uniform(-0.5, 0.5, (8000 * 4, 2)), 8000, subtype="FLOAT")
    return path


def test_channel_and_rate_are_brought_to_what_is_wanted_and_told(stereo: Path) -> None:
    made = read_clip(utterance(stereo), Reading(16000))
    assert made.signal is not None
    assert len(made.signal) == 64000
    assert made.notes == ("resampled from 8000 to 16000 Hz", "of 2 channels, channel 0 was taken")
    mean = read_clip(utterance(stereo), Reading(8000, "mean"))
    assert mean.signal is not None
    np.testing.assert_allclose(mean.signal, soundfile.read(stereo, dtype="float32")[0].mean(1), atol=1e-6)


def test_another_rate_can_be_refused(stereo: Path) -> None:
    (made,) = read_clips([utterance(stereo)], Reading(16000, resample=False))
    assert isinstance(made, Bad)
    assert "is at 8000 Hz, expected 16000 Hz" in made.reason
    with pytest.raises(UserError, match="no channel 5"):
        read_clip(utterance(stereo), Reading(16000, 5))


def test_a_long_segment_is_streamed_and_equals_what_is_read_whole(stereo: Path) -> None:
    long = read_clip(utterance(stereo, 0.5, 3.5), Reading(16000, long=1.0))
    assert long.signal is None
    assert math.isclose(long.seconds, 3.0)
    whole = read_clip(utterance(stereo, 0.5, 3.5), Reading(16000)).signal
    assert whole is not None
    torch.testing.assert_close(torch.cat(list(long.tensors())), torch.from_numpy(whole), rtol=0, atol=0)


def test_reading_ahead_keeps_the_order_and_passes_errors_on() -> None:
    def numbers() -> Iterator[int]:
        yield from range(5)
        raise OSError("disk on fire")

    made = ahead(numbers())
    assert list(islice(made, 5)) == list(range(5))
    with pytest.raises(OSError, match="disk on fire"):
        next(made)


def test_reading_ahead_stops_with_its_reader() -> None:
    taken = []

    def numbers() -> Iterator[int]:
        for n in range(1000):
            taken.append(n)
            yield n

    made = ahead(numbers())
    assert next(made) == 0
    made.close()  # type: ignore[attr-defined]
    assert len(taken) < 10
    assert not [thread for thread in threading.enumerate() if thread.name == "read-ahead"]
