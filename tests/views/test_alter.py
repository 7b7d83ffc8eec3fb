"""TERA's alteration: the properties of both policies, on many draws."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from sigssl.errors import UserError
from sigssl.views import Alter, Altered

POLICIES = ("default", "s3prl")


def draw(alter: Alter, lengths: list[int], bins: int = 80, seed: int = 0) -> tuple[Tensor, Altered]:
    """Frames that are never 0 where valid, and their altered view."""
    generator = torch.Generator().manual_seed(seed)
    n = torch.tensor(lengths)
    frames = torch.rand(len(lengths), max(lengths), bins, generator=generator) + 0.5
    frames[torch.arange(max(lengths)) >= n[:, None]] = 0
    return frames, alter(frames, n, generator)


def spans(row: Tensor) -> list[tuple[int, int]]:
    """(start, length) of the runs of true."""
    edge = torch.diff(row.int(), prepend=torch.zeros(1).int(), append=torch.zeros(1).int())
    begin, end = torch.nonzero(edge == 1)[:, 0], torch.nonzero(edge == -1)[:, 0]
    return list(zip(begin.tolist(), (end - begin).tolist(), strict=True))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("length", [200, 1000])
def test_labelled_share_of_time_alteration(policy, length) -> None:
    _, out = draw(Alter(freq=0.0, policy=policy), [length] * 200)
    assert abs(float(out.label.float().mean()) - (1 - math.exp(-0.15))) < 0.02
    rows = out.label.any(-1)
    assert torch.equal(rows, out.label.all(-1))
    assert all(length % 1 == 0 and length >= 7 for row in rows for _, length in spans(row))


@pytest.mark.parametrize(("policy", "empty"), [("default", 0.0), ("s3prl", 1 / 17)])
def test_bands_of_frequency_alteration(policy, empty) -> None:
    frames, out = draw(Alter(time=0.0, policy=policy), [12] * 3000)
    bands = out.label[:, 0]
    width = bands.sum(-1)
    assert torch.equal(out.label, bands[:, None].expand_as(out.label))
    assert all(len(spans(b)) == (1 if w else 0) for b, w in zip(bands[:200], width, strict=False))
    assert (out.frames[out.label] == 0).all() and torch.equal(out.frames[~out.label], frames[~out.label])
    assert int(width.max()) == 16
    assert abs(float((width == 0).float().mean()) - empty) < 0.015
    assert abs(float(width[width > 0].float().mean()) - 8.5) < 0.3


def test_die_of_time_alteration() -> None:
    frames, out = draw(Alter(freq=0.0), [100] * 4000, bins=3)
    chosen = out.label[:, :, 0]
    zeroed = torch.stack([f[c].eq(0).all() for f, c in zip(out.frames, chosen, strict=True)])
    kept = (out.frames == frames).all(-1).all(-1)
    assert torch.equal(out.frames[~chosen], frames[~chosen])
    for share, expected in ((zeroed, 0.8), (~zeroed & ~kept, 0.1), (kept, 0.1)):
        assert abs(float(share.float().mean()) - expected) < 0.02


@pytest.mark.parametrize("policy", POLICIES)
def test_swapped_blocks_come_from_the_same_utterance(policy) -> None:
    frames, out = draw(Alter(freq=0.0, zero=0.0, swap=1.0, policy=policy), [90, 60])
    for f, g, label in zip(frames, out.frames, out.label[:, :, 0], strict=True):
        source = (g[:, None] == f[None]).all(-1)
        assert source.any(1).all(), "every frame is one of the utterance's own"
        where = source.int().argmax(1)
        assert (where[label] != torch.nonzero(label)[:, 0]).any()
        inside = [t for start, n in spans(label) for t in range(start, start + n - 1)]
        assert sum(int(where[t + 1] - where[t]) == 1 for t in inside) >= 0.8 * len(inside) - len(inside) // 7


def test_ends_are_reachable_by_default_only() -> None:
    lengths = [40, 55] * 2000
    for policy, reached in (("default", True), ("s3prl", False)):
        _, out = draw(Alter(policy=policy, freq=0.0), lengths, bins=2)
        last = out.label[torch.arange(len(lengths)), torch.tensor(lengths) - 1]
        assert bool(last.any()) == reached
        _, out = draw(Alter(policy=policy, time=0.0), lengths, bins=20)
        assert bool(out.label[:, :, -1].any()) == reached
        assert out.label[:, :, 0].any()
        padding = torch.arange(55) >= torch.tensor(lengths)[:, None]
        assert not out.label[padding].any()


def test_short_utterances() -> None:
    for length, frames in ((23, 0), (24, 7)):
        _, out = draw(Alter(freq=0.0, policy="s3prl"), [length] * 50)
        assert (out.label[:, :, 0].sum(1) == frames).all()
    for length, frames in ((1, 0), (7, 0), (8, 7), (23, 7)):
        _, out = draw(Alter(freq=0.0), [length] * 50)
        assert (out.label[:, :, 0].sum(1) == frames).all()
    _, out = draw(Alter(), [1] * 50)
    assert out.label.any(-1).all(), "a band is always left to predict"


@pytest.mark.parametrize(("policy", "whole_batch"), [("default", False), ("s3prl", True)])
def test_magnitude(policy, whole_batch) -> None:
    lengths = [30, 20] * 50
    shares = []
    for seed in range(60):
        frames, out = draw(Alter(time=0.0, freq=0.0, magnitude=0.15, policy=policy), lengths, bins=4, seed=seed)
        noisy = (out.frames != frames).any(-1)
        share = noisy[:, 0].float().mean()
        assert not whole_batch or share in (0, 1)
        assert bool(noisy[1::2, 20:].any()) == (whole_batch and share == 1)
        shares.append(share)
        valid = torch.arange(30) < torch.tensor(lengths)[:, None]
        assert torch.equal(out.label, torch.ones_like(out.label) if whole_batch else valid[:, :, None].expand_as(out.label))
    assert abs(float(torch.stack(shares).mean()) - 0.15) < (0.15 if whole_batch else 0.02)
    frames, out = draw(Alter(time=0.0, freq=0.0, magnitude=1.0, policy=policy), [2000])
    assert abs(float((out.frames - frames).std()) - 0.2) < 2e-3


def test_noise_leaves_the_label_alone() -> None:
    _, quiet = draw(Alter(), [300] * 4)
    _, noisy = draw(Alter(magnitude=1.0), [300] * 4)
    assert torch.equal(quiet.label, noisy.label)
    assert not torch.equal(quiet.frames, noisy.frames)


def test_s3prl_policy_counts_frames_by_their_sum() -> None:
    frames = torch.ones(1, 100, 4)
    frames[0, 60:] = 0  # valid, but silent
    out = Alter(freq=0.0, policy="s3prl")(frames, torch.tensor([100]), torch.Generator().manual_seed(0))
    assert not out.label[0, 59:].any()


def test_blocks_apart() -> None:
    _, out = draw(Alter(freq=0.0, overlap=False, time=0.3), [400] * 100)
    for row in out.label[:, :, 0]:
        runs = spans(row)
        assert all(n == 7 for _, n in runs) and len(runs) == round(400 * 0.3 / 7)
        assert all((b - a) % 10 == 0 for (a, _), (b, _) in itertools.pairwise(runs))


def test_widths_between_bounds() -> None:
    _, out = draw(Alter(freq=0.0, overlap=False, width=3, max_width=6), [100] * 500)
    widths = {n for row in out.label[:, :, 0] for _, n in spans(row)}
    assert widths == {3, 4, 5, 6}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 80), min_size=1, max_size=5),
    st.integers(1, 9),
    st.sampled_from(POLICIES),
    st.floats(0, 1),
    st.floats(0, 1),
    st.booleans(),
)
@example([4, 5], 1, "s3prl", 1.0, 0.0, False)  # a block longer than the utterance
def test_any_setting_keeps_the_promises(lengths, bins, policy, time, freq, overlap) -> None:
    frames, out = draw(Alter(time=time, freq=freq, policy=policy, overlap=overlap), lengths, bins=bins)
    assert out.frames.shape == out.label.shape == frames.shape
    assert out.frames.isfinite().all() and out.frames.data_ptr() != frames.data_ptr()
    padding = torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]
    assert not out.frames[padding].any()
    if time or freq:
        assert torch.equal(out.frames[~out.label], frames[~out.label])
        assert not out.label[padding].any()


def test_same_generator_state_same_view() -> None:
    first, second = draw(Alter(magnitude=0.5), [50, 70])[1], draw(Alter(magnitude=0.5), [50, 70])[1]
    assert torch.equal(first.frames, second.frames) and torch.equal(first.label, second.label)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"time": 1.5}, "time is a share"), ({"width": 0}, "1 <= width"), ({"zero": 0.9, "swap": 0.2}, "at most 1")],
)
def test_refuses_impossible_settings(arguments, message) -> None:
    with pytest.raises(UserError, match=message):
        Alter(**arguments)
