"""The Transformer: published numeric vectors, padding, precision, options."""

from __future__ import annotations

import pytest
import torch

from sigssl.errors import UserError
from sigssl.nn import ReconstructionHead, TransformerEncoder

LENGTHS = torch.tensor([9, 4])


@pytest.fixture
def small() -> TransformerEncoder:
    torch.manual_seed(0)
    return TransformerEncoder(5, dim=12, layers=2, heads=3, ffn=24).eval()


def test_shapes_and_states(small: TransformerEncoder) -> None:
    states = small(torch.randn(2, 9, 5), LENGTHS)
    assert [s.shape for s in states] == [(2, 9, 12)] * 3
    assert all(s.isfinite().all() for s in states)


def test_parameter_counts_of_the_published_sizes() -> None:
    def count(module: torch.nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    with torch.device("meta"):
        assert count(TransformerEncoder(80)) == 21_327_360
        assert count(TransformerEncoder(240)) == 21_450_240
        assert count(TransformerEncoder(80, layers=12)) == 85_118_208
        assert count(TransformerEncoder(80, share_layers=True)) == 7_151_616
        assert count(TransformerEncoder(80, dim=384, layers=12, heads=8, ffn=768)) == 14_238_336
        assert count(ReconstructionHead(768, 80)) == 653_648
        assert count(ReconstructionHead(768, 240)) == 776_688


def test_initialisation() -> None:
    torch.manual_seed(0)
    body = TransformerEncoder(80, dim=192, layers=1, ffn=384)
    for name, p in body.named_parameters():
        if name.endswith("bias"):
            assert not p.any()
        elif "norm" in name:
            assert (p == 1).all()
        else:
            assert abs(float(p.detach().std()) - 0.02) < 5e-4, name


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("share", [False, True])
def test_padding_and_neighbours_do_not_matter(norm, share) -> None:
    torch.manual_seed(0)
    body = TransformerEncoder(5, dim=12, layers=2, heads=3, ffn=24, norm=norm, share_layers=share).eval()
    x = torch.randn(2, 9, 5)
    states = body(x, LENGTHS)
    dirty = x.clone()
    dirty[1, 4:] = float("nan")
    for a, b in zip(states, body(dirty, LENGTHS), strict=True):
        assert torch.equal(a[0], b[0]) and torch.equal(a[1, :4], b[1, :4])
    other = x.clone()
    other[0] += 1
    for a, b in zip(states, body(other, LENGTHS), strict=True):
        assert torch.equal(a[1, :4], b[1, :4])
    for a, b in zip(states, body(x[1:, :4], LENGTHS[1:]), strict=True):
        torch.testing.assert_close(a[1:, :4], b, rtol=0, atol=1e-5)


def test_an_item_of_no_frames_stays_finite(small: TransformerEncoder) -> None:
    states = small(torch.full((2, 3, 5), float("nan")), torch.tensor([0, 0]))
    assert all(s.isfinite().all() for s in states)


def test_shared_layers_have_one_layers_weights() -> None:
    shared = TransformerEncoder(5, dim=12, layers=3, heads=3, ffn=24, share_layers=True)
    assert len(shared.blocks) == 1 and len(shared(torch.randn(1, 4, 5), torch.tensor([4]))) == 4


def test_attention_equals_the_formula(small: TransformerEncoder) -> None:
    block = small.blocks[0]
    x = torch.randn(1, 6, 12)
    q, k, v = (part.view(6, 3, 4).transpose(0, 1) for part in block.qkv(x)[0].split(12, dim=-1))
    expected = ((q @ k.transpose(1, 2) / 2.0).softmax(-1) @ v).transpose(0, 1).reshape(1, 6, 12)
    torch.testing.assert_close(block.attend(x, None), block.out(expected))


def test_dropout_only_while_training(small: TransformerEncoder) -> None:
    x = torch.randn(1, 9, 5)
    assert torch.equal(small(x, LENGTHS[:1])[-1], small(x, LENGTHS[:1])[-1])
    small.train()
    assert not torch.equal(small(x, LENGTHS[:1])[-1], small(x, LENGTHS[:1])[-1])


def test_pre_norm_trains_every_parameter() -> None:
    body = TransformerEncoder(5, dim=12, layers=2, heads=3, ffn=24, norm="pre")
    body(torch.randn(2, 9, 5), LENGTHS)[-1][0].square().sum().backward()
    assert all(p.grad is not None for p in body.parameters())


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(UserError, match="no multiple of heads 5: choose 10"):
        TransformerEncoder(5, dim=12, heads=5)
