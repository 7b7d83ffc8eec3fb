"""Heads and losses: padding, stacking, weighting, CTC against sums over paths, masks."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from sigssl.asr.ctc import collapse
from sigssl.asr.heads import Head, Heard, Mix, Stack, make_head
from sigssl.asr.losses import blanks, ctc_losses, losses_of
from sigssl.asr.settings import AsrSettings, DecoderSettings, HeadSettings, MaskSettings
from sigssl.errors import UserError
from sigssl.views import SpanMask

SIZES = DecoderSettings(dim=8, layers=1, heads=2, ffn=16, dropout=0.0)
KINDS = {
    "linear": HeadSettings(stack=3, dropout=0.0),
    "blstm": HeadSettings(kind="blstm", stack=2, projection=6, hidden=5, layers=2, dropout=0.0),
    "seq2seq": HeadSettings(kind="seq2seq", stack=2, projection=6, hidden=5, layers=1, dropout=0.0, decoder=SIZES),
    "seq2seq alone": HeadSettings(kind="seq2seq", stack=1, layers=0, dropout=0.0, decoder=SIZES),
}


def head_of(name: str, seed: int = 0) -> Head:
    torch.manual_seed(seed)
    return make_head(KINDS[name], 4, 3, 5)


@pytest.mark.parametrize("name", KINDS)
def test_padding_changes_nothing(name: str) -> None:
    head = head_of(name)
    lengths = torch.tensor([7, 11, 1])
    x = torch.randn(3, 13, 4)
    alone = [head(x[item : item + 1, :length], lengths[item : item + 1]) for item, length in enumerate(lengths.tolist())]
    for item, length in enumerate(lengths.tolist()):
        x[item, length:] = torch.nan
    together = head(x, lengths)
    targets = [[1, 2], [3, 3, 1], [4]]
    losses = losses_of(head, together, targets)
    assert losses.loss.isfinite()
    for item, one in enumerate(alone):
        count = int(one.lengths)
        assert count == -(-int(lengths[item]) // head.trunk.frames) == int(together.lengths[item])
        assert torch.allclose(together.log_probs[item, :count], one.log_probs[0], atol=1e-5)
    losses.loss.backward()
    learned = [p for p in head.parameters() if p is not head.mix.weights]  # which was not used
    assert all(p.grad is not None and p.grad.isfinite().all() for p in learned)


def test_gradients_do_not_see_padding() -> None:
    head = head_of("blstm")
    x, lengths, targets = torch.randn(2, 12, 4), torch.tensor([12, 6]), [[1, 2], [3]]
    grads = []
    for fill in (0.0, torch.nan):
        padded = x.clone()
        padded[1, 6:] = fill
        padded.requires_grad_()
        losses_of(head, head(padded, lengths), targets).loss.backward()
        assert padded.grad is not None and (padded.grad[1, 6:] == 0).all()
        grads.append(padded.grad[:, :6])
    assert torch.equal(grads[0], grads[1])


def test_stacking_joins_neighbours() -> None:
    x = torch.arange(10.0).view(1, 5, 2)
    stacked, lengths = Stack(2, 2)(x, torch.tensor([5]))
    assert stacked.tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 0]]] and lengths.tolist() == [3]


def test_weighted_sum() -> None:
    mix = Mix(3)
    states = [torch.randn(2, 4, 5) for _ in range(3)]
    assert torch.allclose(mix(mix.pick(states)), sum(states) / 3, atol=1e-6)
    assert mix.weights is not None
    with torch.no_grad():
        mix.weights.copy_(torch.tensor([0.0, 100.0, 0.0]))
    assert torch.allclose(mix(mix.pick(states)), states[1])
    last = Mix(3, "last", normalise=True)
    assert len(last.pick(states)) == 1
    assert torch.allclose(last(last.pick(states)), F.layer_norm(states[2], (5,)))
    with pytest.raises(UserError, match="gives 2 states"):
        mix.pick(states[:2])


def slow_ctc(log_probs: torch.Tensor, target: list[int]) -> float:
    """-ln of the sum over all paths, one by one."""
    paths = itertools.product(range(log_probs.shape[1]), repeat=len(log_probs))
    said = [log_probs[torch.arange(len(path)), list(path)].sum() for path in paths if collapse(path) == tuple(target)]
    return -torch.stack(said).logsumexp(0).item() if said else float("inf")


def test_ctc_is_the_sum_over_paths() -> None:
    torch.manual_seed(0)
    log_probs = torch.randn(3, 5, 4).log_softmax(-1)
    lengths, targets = torch.tensor([5, 3, 2]), [[1, 2, 2], [3], [1, 1]]
    losses, infinite = ctc_losses(log_probs, lengths, targets)
    slow = [slow_ctc(log_probs[item, : lengths[item]], targets[item]) for item in range(3)]
    assert losses[:2].tolist() == pytest.approx(slow[:2], abs=1e-5)
    assert infinite.tolist() == [False, False, True] and slow[2] == float("inf") and losses[2].item() == 0


def test_infinite_losses_are_counted_and_have_no_gradient() -> None:
    head = head_of("linear")
    x = torch.randn(2, 6, 4, requires_grad=True)
    losses = losses_of(head, head(x, torch.tensor([6, 3])), [[1], [1, 2, 3]])
    assert losses.infinite == 1 and losses.loss.isfinite()
    losses.loss.backward()
    assert x.grad is not None and (x.grad[1] == 0).all() and (x.grad[0] != 0).any()


def test_hybrid_loss_is_the_weighted_sum() -> None:
    head = head_of("seq2seq")
    head.smoothing = 0.0
    x, lengths, targets = torch.randn(2, 12, 4), torch.tensor([12, 8]), [[1, 2, 3], [4]]
    heard = head(x, lengths)
    losses = losses_of(head, heard, targets)
    assert head.decoder is not None
    slow = []
    for item, target in enumerate(targets):
        said = [0]
        for token in [*target, 0]:
            logits = head.decoder(heard.memory[item : item + 1], heard.lengths[item : item + 1], torch.tensor([said]))
            slow.append(-logits[0, -1].log_softmax(-1)[token].item())
            said.append(token)
    attention = sum(slow) / len(slow)
    ctc = ctc_losses(heard.log_probs, heard.lengths, targets)[0].sum().item() / 4
    assert losses.attention is not None and losses.attention.item() == pytest.approx(attention, abs=1e-5)
    assert losses.loss.item() == pytest.approx(0.3 * ctc + 0.7 * attention, abs=1e-5)


def test_blank_meter() -> None:
    rows = torch.full((2, 3, 2), -5.0)
    rows[0, :, 0] = 0
    rows[1, :, 1] = 0
    ones, all_ = blanks(Heard(rows, rows, torch.tensor([2, 3])))
    assert (ones.item(), all_.item()) == (2, 5)


def test_masks_stay_within_their_item() -> None:
    x, lengths = torch.ones(64, 50, 20), torch.randint(1, 51, (64,))
    mask = SpanMask(times=2, frames=8, share=0.3, channels=1, width=0.25)
    masked = mask(x, lengths, torch.Generator().manual_seed(1))
    again = mask(x, lengths, torch.Generator().manual_seed(1))
    assert torch.equal(masked, again) and not torch.equal(masked, mask(x, lengths, torch.Generator().manual_seed(2)))
    widths = []
    for item, length in zip(masked, lengths.tolist(), strict=True):
        channels = (item == 0).all(0)
        assert channels.sum() <= 5
        frames = (item[:, ~channels] == 0).all(1)
        assert not frames[length:].any() and frames.sum() <= 2 * min(8, int(0.3 * length))
        widths.append(int(frames.sum()))
    assert max(widths) > 4 and torch.equal(x, torch.ones(64, 50, 20))
    assert torch.equal(SpanMask(0, 0, 0.0, 0, 0.0)(x, lengths, torch.Generator()), x)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: HeadSettings(stack=0), "at least 1"),
        (lambda: HeadSettings(ctc_weight=0.0), "ctc_weight"),
        (lambda: HeadSettings(kind="blstm", layers=0), "kind linear"),
        (lambda: AsrSettings(updates=0), "updates=0"),
        (lambda: AsrSettings(fraction=0.0), "fraction"),
        (lambda: AsrSettings(start="scratch"), "random weights"),
        (lambda: SpanMask(share=2.0), "shares"),
        (lambda: AsrSettings(lr=0.0, mask=MaskSettings()), "lr=0.0"),
    ],
)
def test_settings_that_cannot_be_meant(make: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        make()  # type: ignore[operator]
