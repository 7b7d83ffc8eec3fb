"""A recogniser on long input: streamed as at once, cut as the whole is cut; its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sigssl.asr.heads import make_head
from sigssl.asr.pieces import cuts, pieces_of
from sigssl.asr.recogniser import Piece, Recogniser, load_recogniser, read_recogniser_meta, save_recogniser
from sigssl.asr.settings import DecoderSettings, HeadSettings
from sigssl.asr.tokens import Tokens
from sigssl.downstream.arms import FeatureEncoder
from sigssl.errors import UserError
from sigssl.features import LogMel
from sigssl.methods import FrameEncoder
from sigssl.nn import TransformerEncoder
from sigssl.types import Hidden

TOKENS = Tokens.from_texts("characters", ["abc def"])
HEADS = {
    "linear": HeadSettings(stack=2),
    "blstm": HeadSettings(kind="blstm", stack=3, projection=8, hidden=6, layers=1),
    "seq2seq": HeadSettings(kind="seq2seq", stack=2, projection=8, hidden=6, layers=1, decoder=DecoderSettings(8, 1, 2, 16)),
}


def features() -> LogMel:
    return LogMel(n_mels=20, sample_rate=8000)


def encoder(kind: str) -> torch.nn.Module:
    if kind == "surface":
        return FeatureEncoder(features())
    body = TransformerEncoder(input_dim=20, dim=16, layers=1, heads=2, ffn=32)
    return FrameEncoder(features(), body, window=120, overlap=40)


def recogniser(head: str, kind: str = "transformer", window: float = 2.0, overlap: float = 0.6) -> Recogniser:
    torch.manual_seed(0)
    below = encoder(kind)
    made = make_head(HEADS[head], int(below.dim), int(below.num_layers) + 1, len(TOKENS))  # type: ignore[arg-type]
    return Recogniser(below, made, TOKENS, window, overlap).eval()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", ["surface", "transformer"])
@pytest.mark.parametrize("seconds", [0.3, 2.0, 2.01, 11.7])
def test_streamed_as_at_once(head: str, kind: str, seconds: float) -> None:
    model, signal = recogniser(head, kind), 0.1 * torch.randn(int(8000 * seconds))
    with torch.no_grad():
        whole, lengths = model.log_probs(signal[None, None], torch.tensor([len(signal)]))

    def blocks() -> Iterator[torch.Tensor]:
        return iter(signal.split(3001))

    streamed = torch.cat(list(model.stream(blocks)))
    assert not streamed.requires_grad
    assert len(streamed) == int(lengths) == whole.shape[1]
    assert torch.allclose(streamed, whole[0], atol=2e-4)
    memory = torch.cat([piece.memory for piece in model.pieces(blocks)])
    with torch.no_grad():
        assert torch.allclose(memory, model(signal[None, None], lengths.new_tensor([len(signal)])).memory[0], atol=2e-4)


@pytest.mark.parametrize("head", ["linear", "blstm"])
def test_batches_of_long_and_short_items(head: str) -> None:
    model, x, lengths = recogniser(head), 0.1 * torch.randn(3, 1, 40000), torch.tensor([40000, 9000, 33000])
    with torch.no_grad():
        together, counts = model.log_probs(x, lengths)
        for item, length in enumerate(lengths.tolist()):
            alone, (count,) = model.log_probs(x[item : item + 1, :, :length], lengths[item : item + 1])
            assert count == counts[item] and torch.allclose(together[item, :count], alone[0], atol=2e-4)


class Whole(torch.nn.Module):
    """Someone else's encoder: it cannot stream, and loses a frame at the end."""

    dim, num_layers, hop, sample_rate = 1, 0, 80, 8000

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> Hidden:
        return Hidden([x[:, 0].unfold(1, 160, 80).mean(2, keepdim=True)], lengths // 80 - 1)


def test_an_encoder_that_cannot_stream_sees_windows() -> None:
    model = Recogniser(Whole(), make_head(HEADS["linear"], 1, 1, len(TOKENS)), TOKENS, 2.0, 0.6).eval()
    for size in (8000, 40000, 40077, 16000):
        signal = torch.randn(size)
        whole, lengths = model.log_probs(signal[None, None], torch.tensor([size]))
        streamed = torch.cat(list(model.stream(lambda signal=signal: iter(signal.split(1700)))))  # type: ignore[misc]
        assert len(streamed) == int(lengths) and torch.allclose(streamed, whole[0], atol=1e-5)


@pytest.mark.parametrize("size", [1, 7, 40, 333])
def test_pieces_that_come_little_by_little_are_cut_as_the_whole(size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(1000, 6, generator=generator) + torch.tensor([3.0, 0, 0, 0, 0, 0])
    rows[0:50, 0] -= 9  # no pause at all
    rows = rows.log_softmax(-1)
    memory = torch.randn(1000, 3, generator=generator)
    parts = (Piece(rows[at : at + size], memory[at : at + size]) for at in range(0, 1000, size))
    made = list(pieces_of(parts, 60))
    assert [len(piece.log_probs) for piece in made] == [stop - start for start, stop in cuts(rows, 60)]
    assert torch.equal(torch.cat([piece.log_probs for piece in made]), rows)
    assert torch.equal(torch.cat([piece.memory for piece in made]), memory)


def test_a_folder_holds_all_of_it(tmp_path: Path) -> None:
    model = recogniser("seq2seq")
    save_recogniser(tmp_path / "run/recogniser", model, {"note": "x"}, "# card\n")
    back = load_recogniser(tmp_path / "run")
    assert back.tokens == model.tokens and back.frame_shift == 0.02 and back.window == 2.0
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), back.state_dict().values(), strict=True))
    meta = read_recogniser_meta(tmp_path / "run/recogniser")
    assert meta["note"] == "x" and meta["sample_rate"] == 8000 and meta["tokens"] == len(TOKENS)
    assert (tmp_path / "run/recogniser/README.md").read_text() == "# card\n"
    with pytest.raises(UserError, match="no recogniser there"):
        load_recogniser(tmp_path)
    (tmp_path / "run/recogniser/model.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="damaged"):
        load_recogniser(tmp_path / "run")


def test_parts_that_do_not_fit() -> None:
    below = encoder("surface")
    with pytest.raises(UserError, match="outputs"):
        Recogniser(below, make_head(HEADS["linear"], 20, 1, 3), TOKENS)
    with pytest.raises(UserError, match="wide"):
        Recogniser(below, make_head(HEADS["linear"], 21, 1, len(TOKENS)), TOKENS)
    with pytest.raises(UserError, match="overlap < window"):
        Recogniser(below, make_head(HEADS["linear"], 20, 1, len(TOKENS)), TOKENS, 2.0, 3.0)
