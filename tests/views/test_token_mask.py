"""Masked views of tokens: counts, disjointness, randomness."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sigssl.errors import UserError
from sigssl.views import TokenMask


def draw(mask: TokenMask, batch: int, frames: int, seed: int = 0):  # type: ignore[no-untyped-def]
    return mask(batch, frames, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("rounding", "frames", "ratio", "kept"),
    [("floor", 73, 0.8, 14), ("round", 73, 0.8, 15), ("floor", 100, 0.8, 19), ("round", 100, 0.8, 20), ("round", 73, 0.75, 18)],
)
def test_counts(rounding: str, frames: int, ratio: float, kept: int) -> None:
    views = draw(TokenMask(ratio, rounding=rounding), 3, frames)  # type: ignore[arg-type]
    assert views.keep.shape == (2, 3, kept) and bool((views.masked.sum(2) == frames - kept).all())


@settings(deadline=None, max_examples=40)
@given(
    ratio=st.sampled_from([0.25, 0.5, 0.6, 0.75]),
    frames=st.sampled_from([20, 40, 60]),
    disjoint=st.booleans(),
    seed=st.integers(0, 99),
)
def test_kept_and_masked_are_complements_and_disjoint_views_share_the_least(
    ratio: float, frames: int, disjoint: bool, seed: int
) -> None:
    views = draw(TokenMask(ratio, disjoint), 5, frames, seed)
    assert not views.masked.gather(2, views.keep).any()
    assert bool((views.keep.diff(dim=2) > 0).all())
    if disjoint:
        either, both = views.masked.any(0).sum(1), views.masked.all(0).sum(1)
        assert bool((either == round(min(1, 2 * ratio) * frames)).all()) and bool(
            (both == round(max(0, 2 * ratio - 1) * frames)).all()
        )


def test_views_and_items_differ_and_follow_from_the_seed() -> None:
    one, two = draw(TokenMask(0.5), 64, 40), draw(TokenMask(0.5), 64, 40)
    assert torch.equal(one.keep, two.keep)
    assert not torch.equal(one.keep[0], one.keep[1]) and not torch.equal(one.keep[0, 0], one.keep[0, 1])
    assert abs(float(one.masked[:, :, 7].float().mean()) - 0.5) < 0.15, "no place is favoured"


def test_impossible_ratios_are_refused() -> None:
    with pytest.raises(UserError, match="between 0 and 1"):
        TokenMask(1.0)
    with pytest.raises(UserError, match="keeps 0"):
        TokenMask(0.9).kept(3)
