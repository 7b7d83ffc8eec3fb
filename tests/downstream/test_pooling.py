"""Pooling against numpy, item by item, with garbage in the padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sigssl.downstream.pooling import pool_frames

LOOP = {
    "mean": lambda x: x.mean(0),
    "mean+std": lambda x: np.concatenate([x.mean(0), x.std(0)]),
    "max": lambda x: x.max(0),
}


@pytest.mark.parametrize("pool", LOOP)
@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4), segments=st.integers(1, 4))
def test_equals_numpy_whatever_is_in_the_padding(pool: str, lengths: list[int], segments: int) -> None:
    frames = torch.randn(len(lengths), 13, 3, generator=torch.Generator().manual_seed(sum(lengths)))
    for item, length in enumerate(lengths):
        frames[item, length:] = float("nan")
    pooled = pool_frames(frames, torch.tensor(lengths), pool, segments)
    for item, length in enumerate(lengths):
        x = frames[item, :length].numpy()
        starts = [min(i * length // segments, length - 1) for i in range(segments)]
        stops = [max((i + 1) * length // segments, s + 1) for i, s in enumerate(starts)]
        expected = np.concatenate([LOOP[pool](x[a:b]) for a, b in zip(starts, stops, strict=True)])
        np.testing.assert_allclose(pooled[item], expected, atol=1e-5)
