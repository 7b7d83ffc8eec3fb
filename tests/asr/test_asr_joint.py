"""Joint decoding: CTC prefix scores against sums over all paths, the search against all sequences, steps against the whole."""

from __future__ import annotations

import itertools

import pytest
import torch

from sigssl.asr.attention import EDGE, AttentionDecoder, teacher
from sigssl.asr.ctc import collapse, total_log_prob
from sigssl.asr.decode import Decoder, DecodeSettings
from sigssl.asr.heads import Head, make_head
from sigssl.asr.joint import CtcPrefixes, JointSearch
from sigssl.asr.settings import DecoderSettings, HeadSettings
from sigssl.asr.tokens import Tokens
from sigssl.errors import UserError

TIME, VOCABULARY = 4, 4


def rows(seed: int, time: int = TIME) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(time, VOCABULARY, generator=generator)).log_softmax(-1)


def hybrid(seed: int, weight: float = 0.4) -> Head:
    torch.manual_seed(seed)
    sizes = DecoderSettings(dim=8, layers=2, heads=2, ffn=16, dropout=0.1)
    settings = HeadSettings(kind="seq2seq", layers=0, layer="last", stack=1, ctc_weight=weight, decoder=sizes)
    head = make_head(settings, 6, 1, VOCABULARY).eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.8)
    return head


def begins_with(log_probs: torch.Tensor, prefix: tuple[int, ...]) -> float:
    """Ln P of all paths whose text begins with a prefix, path by path."""
    total = -torch.inf
    for path in itertools.product(range(VOCABULARY), repeat=len(log_probs)):
        if collapse(path)[: len(prefix)] == prefix:
            total = torch.logaddexp(torch.tensor(total), log_probs[torch.arange(len(path)), list(path)].sum()).item()
    return total


@pytest.mark.parametrize("prefix", [(1,), (1, 2), (2, 2), (3, 1, 1), (1, 2, 3, 1), (1, 1, 1)])
def test_prefix_scores_are_sums_over_paths(prefix: tuple[int, ...]) -> None:
    log_probs = rows(1)
    ctc = CtcPrefixes(log_probs)
    states, last = ctc.start(), 0
    for token in prefix:
        score, longer = ctc.extend(states, torch.tensor([last]), torch.tensor([[token]]))
        states, last = longer[:, 0], token
    assert score.item() == pytest.approx(begins_with(log_probs, prefix), abs=1e-5)
    assert ctc.whole(states).item() == pytest.approx(float(total_log_prob(log_probs, [prefix])[0]), abs=1e-5)


def test_the_empty_prefix_and_long_inputs() -> None:
    log_probs = rows(2, 3000)
    ctc = CtcPrefixes(log_probs)
    assert ctc.whole(ctc.start()).item() == pytest.approx(log_probs[:, 0].double().sum().item(), abs=1e-6)
    states, last, sequence = ctc.start(), 0, [1, 2, 2, 3] * 5
    for token in sequence:
        states, last = ctc.extend(states, torch.tensor([last]), torch.tensor([[token]]))[1][:, 0], token
    assert ctc.whole(states).item() == pytest.approx(float(total_log_prob(log_probs, [sequence])[0]), abs=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_the_search_finds_what_trying_everything_finds(seed: int) -> None:
    head, log_probs, memory = hybrid(seed), rows(seed), torch.randn(TIME, 6)
    assert head.decoder is not None
    scores = {}
    for length in range(TIME + 1):
        for tokens in itertools.product(range(1, VOCABULARY), repeat=length):
            acoustic = float(total_log_prob(log_probs, [tokens])[0])
            inputs, labels = teacher([list(tokens)], torch.device("cpu"))
            with torch.no_grad():
                said = head.decoder(memory[None], torch.tensor([TIME]), inputs).log_softmax(-1)
            attention = said[0, torch.arange(length + 1), labels[0]].sum().item()
            scores[tokens] = 0.4 * acoustic + 0.6 * attention
    best = sorted(scores, key=lambda tokens: -scores[tokens])[:3]
    found = JointSearch(head, beam=500, nbest=3)(log_probs, memory)
    assert [one.tokens for one in found] == best
    assert [one.score for one in found] == pytest.approx([scores[tokens] for tokens in best], abs=1e-4)
    assert found[0].acoustic == pytest.approx(float(total_log_prob(log_probs, [best[0]])[0]), abs=1e-5)
    assert JointSearch(head, beam=2)(log_probs, memory)[0].score <= found[0].score + 1e-9


def test_ctc_alone_finds_the_likeliest_text() -> None:
    log_probs = rows(7)
    all_ = [tokens for length in range(TIME + 1) for tokens in itertools.product(range(1, VOCABULARY), repeat=length)]
    best = all_[int(total_log_prob(log_probs, all_).argmax())]
    assert JointSearch(hybrid(7, 1.0), beam=200)(log_probs, torch.randn(TIME, 6))[0].tokens == best


def test_steps_are_the_whole() -> None:
    torch.manual_seed(0)
    decoder = AttentionDecoder(5, 6, dim=8, layers=2, heads=2, ffn=16).eval()
    memory, lengths, inputs = torch.randn(2, 7, 6), torch.tensor([7, 4]), torch.tensor([[EDGE, 1, 2, 3], [EDGE, 4, 4, 1]])
    whole = decoder(memory, lengths, inputs).log_softmax(-1)
    read, cache = decoder.read(memory, lengths), None
    for place in range(4):
        row, cache = decoder.step(read, inputs[:, place], cache)
        assert torch.allclose(row, whole[:, place], atol=1e-5)


def test_padding_and_what_follows_change_nothing() -> None:
    torch.manual_seed(0)
    decoder = AttentionDecoder(5, 6, dim=8, layers=1, heads=2, ffn=16).eval()
    memory, inputs = torch.randn(2, 7, 6), torch.tensor([[EDGE, 1, 2, 0], [EDGE, 4, 4, 1]])
    alone = decoder(memory[:1, :4], torch.tensor([4]), inputs[:1, :3])
    memory[0, 4:] = torch.nan
    assert torch.allclose(decoder(memory, torch.tensor([4, 7]), inputs)[:1, :3], alone, atol=1e-5)


def test_joint_needs_a_decoder() -> None:
    tokens = Tokens("words", ["<blank>", "a", "b", "c"])
    with pytest.raises(UserError, match="attention decoder"):
        Decoder(tokens, DecodeSettings(method="joint"))
    with pytest.raises(UserError, match="no language model"):
        Decoder(tokens, DecodeSettings(method="joint", lm="x.arpa"), hybrid(0))
    assert Decoder(tokens, DecodeSettings(method="auto"), hybrid(0)).needs_memory
    assert not Decoder(tokens, DecodeSettings(method="beam"), hybrid(0)).needs_memory
