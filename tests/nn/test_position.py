"""Sinusoidal positions against the formula."""

from __future__ import annotations

import math

import torch

from sigssl.nn import SinusoidalPositions, sinusoids


def test_values_far_out() -> None:
    table = sinusoids(20001, 16)
    for position in (0, 1, 1500, 20000):
        for i in range(16):
            angle = position / 10000 ** (2 * (i // 2) / 16)
            assert abs(float(table[position, i]) - (math.cos(angle) if i % 2 else math.sin(angle))) < 1e-6


def test_table_grows_and_is_not_saved() -> None:
    positions = SinusoidalPositions(8)
    short, long = positions(5), positions(1300)
    assert torch.equal(short, long[:5]) and long.shape == (1300, 8)
    assert not positions.state_dict()
