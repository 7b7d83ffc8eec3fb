"""The sequence head: lengths, causality, independence of the batch, streaming, unscored epochs."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from sigssl.config import build, describe
from sigssl.downstream.sequence_head import CAUSAL, Kind, SequenceHead, masked_cross_entropy
from sigssl.errors import UserError

KINDS = get_args(Kind)


def make(kind: str, **options: object) -> SequenceHead:
    torch.manual_seed(0)
    return SequenceHead(6, kind, dim=16, layers=2, **options).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_neighbours_in_the_batch_change_nothing(kind: str) -> None:
    head, x = make(kind), torch.randn(3, 40, 6)
    lengths = torch.tensor([40, 1, 23])
    whole = head(x, lengths)
    assert whole.shape == (3, 40, 5)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(whole[row, :length], head(x[row : row + 1, :length])[0], atol=1e-5, rtol=1e-4)
    dirty = x.clone()
    dirty[1, 1:], dirty[2, 23:] = float("nan"), float("inf")
    other = head(dirty, lengths)
    torch.testing.assert_close(other[2, :23], whole[2, :23])
    torch.testing.assert_close(head(x[[2, 0, 1]], lengths[[2, 0, 1]])[0, :23], whole[2, :23], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_epoch_sees(kind: str) -> None:
    """Causal kinds: the past and itself; others: everything; none: itself."""
    head, x = make(kind), torch.randn(1, 30, 6)
    changed = x.clone()
    changed[:, 15] += 3.0
    moved = (head(x) - head(changed)).abs().amax((0, 2)) > 1e-8
    assert moved[15]
    assert bool(moved[16]) == (kind != "none")
    assert bool(moved[:15].any()) == (kind not in CAUSAL)
    assert head.causal == (kind in CAUSAL)


@pytest.mark.parametrize("kind", CAUSAL)
def test_streaming_is_the_whole(kind: str) -> None:
    head, x = make(kind), torch.randn(2, 21, 6)
    states, parts = None, []
    for piece in x.split([1, 1, 5, 14], dim=1):
        part, states = head.stream(piece, states)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), head(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in CAUSAL])
def test_heads_that_look_ahead_do_not_stream(kind: str) -> None:
    with pytest.raises(UserError, match="cannot stream"):
        make(kind).stream(torch.randn(1, 1, 6))


def test_plain_recurrent_layers_are_torchs() -> None:
    """residual=False is nn.GRU with two layers in both directions, the baseline of the field."""
    head = make("bigru", residual=False)
    theirs = torch.nn.GRU(16, 16, 2, batch_first=True, bidirectional=True)
    weights = {}
    for layer, block in enumerate(head.blocks):
        for side, cell in (("", block.ahead), ("_reverse", block.back)):
            weights |= {f"{name[:-1]}{layer}{side}": value for name, value in cell.state_dict().items()}
    theirs.load_state_dict(weights)
    hidden = torch.randn(2, 9, 16)
    ours = head.blocks[1](head.blocks[0](hidden))
    torch.testing.assert_close(ours, theirs(hidden)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_description_and_long_sequences(kind: str) -> None:
    head = make(kind)
    assert describe(build(describe(head))) == describe(head)
    assert head(torch.randn(1, 1, 6)).shape == (1, 1, 5)
    assert head(torch.randn(1, 1200, 6)).isfinite().all()


def test_unscored_epochs_carry_no_loss() -> None:
    logits = torch.randn(2, 8, 5, requires_grad=True)
    stages = torch.randint(0, 5, (2, 8))
    stages[0, 3], stages[1, 5:] = -1, -1
    loss = masked_cross_entropy(logits, stages, torch.tensor([8, 7]))
    loss.backward()
    assert logits.grad is not None and not logits.grad[0, 3].any() and not logits.grad[1, 5:].any()
    kept = stages >= 0
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits[kept], stages[kept]))
    empty = masked_cross_entropy(logits, torch.full((2, 8), -1))
    assert empty == 0.0 and empty.requires_grad


def test_standardise_takes_statistics_of_the_training_epochs() -> None:
    head, x = make("none"), 3 + 2 * torch.randn(500, 6)
    x[:, 2] = 1.0
    head.standardise(x)
    scaled = (x - head.mean) / head.std
    torch.testing.assert_close(scaled.mean(0), torch.zeros(6), atol=1e-4, rtol=0)
    assert scaled[:, 2].abs().max() == 0 and head.std[2] == 1


def test_unknown_kind_is_named() -> None:
    with pytest.raises(UserError, match="Did you mean 'bimamba'"):
        SequenceHead(6, "bimmaba")
