"""Hidden states to disk and to memory: every layer and way to pool, and that batches and streaming change nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sigssl.cli.main import main
from sigssl.data import audio
from sigssl.data.matrix import read_matrix
from sigssl.data.store import StoreInfo
from sigssl.errors import UserError
from sigssl.extract.embed import embed, hidden_states, pick_device
from sigssl.extract.layers import Selection, pooled, read_weights
from sigssl.extract.reading import Reading
from sigssl.extract.shards import Bad
from sigssl.extract.sources import find_utterances
from sigssl.methods import FrameEncoder


def alone(data: Path, encoder: FrameEncoder) -> dict[str, Tensor]:
    """All states [layers, T, D] of each utterance, computed for itself."""
    made = {}
    for utterance in find_utterances(data):
        signal = torch.from_numpy(audio.read(utterance.path))
        with torch.inference_mode():
            made[utterance.id] = torch.cat(encoder(signal[None], torch.tensor([signal.shape[1]])).states)
    return made


def scp(path: Path) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in path.read_text().splitlines())


def test_states_in_memory(corpus: Callable[..., Path], encoder: FrameEncoder) -> None:
    wanted = alone(corpus(), encoder)
    found = dict(hidden_states(encoder, find_utterances(corpus()), device="cpu", batch_seconds=3.0))
    assert sorted(found) == sorted(wanted)
    for id, states in found.items():
        torch.testing.assert_close(states, wanted[id], atol=2e-5, rtol=0)


def test_long_recordings_are_streamed(corpus: Callable[..., Path], encoder: FrameEncoder) -> None:
    """Recordings of up to 6 s in windows of 2 s."""
    data = corpus(4, 6.0)
    for pool in ("none", "mean+std"):
        selection = Selection("all", pool)
        whole = dict(hidden_states(encoder, find_utterances(data), selection=selection, device="cpu"))
        reading = Reading(16000, long=0.1)
        streamed = dict(hidden_states(encoder, find_utterances(data), selection=selection, reading=reading, device="cpu"))
        for id, states in whole.items():
            torch.testing.assert_close(streamed[id], states, atol=1e-4, rtol=0)


def test_all_layers_as_arks(corpus: Callable[..., Path], encoder: FrameEncoder, model: Path, tmp_path: Path) -> None:
    assert embed(find_utterances(corpus()), model, tmp_path, device="cpu").good == 30
    for layer in range(3):
        for id, place in scp(tmp_path / f"emb.layer{layer}.scp").items():
            np.testing.assert_allclose(read_matrix(place), alone(corpus(), encoder)[id][layer], atol=2e-5)
            break
    info = StoreInfo.read(tmp_path, "emb")
    assert (info.kind, info.dim, info.frame_shift) == ("embeddings", 16, 0.01)


def test_all_layers_as_npy(corpus: Callable[..., Path], encoder: FrameEncoder, model: Path, tmp_path: Path) -> None:
    embed(find_utterances(corpus()), model, tmp_path, format="npy", reading=Reading(16000, long=0.5), device="cpu")
    wanted, found = alone(corpus(), encoder), scp(tmp_path / "emb.scp")
    assert list(found) == sorted(wanted)
    for id, place in found.items():
        np.testing.assert_allclose(np.load(place), wanted[id], atol=1e-4)


@pytest.mark.parametrize("layer", ["all", "last"])
def test_pooled_npy_is_one_table(
    corpus: Callable[..., Path], encoder: FrameEncoder, model: Path, tmp_path: Path, layer: str
) -> None:
    embed(find_utterances(corpus()), model, tmp_path, format="npy", selection=Selection(layer, "mean+std"), device="cpu")
    table, ids = np.load(tmp_path / "emb.npy"), (tmp_path / "ids.txt").read_text().split()
    wanted = alone(corpus(), encoder)
    assert ids == sorted(wanted)
    for row, id in zip(table, ids, strict=True):
        states = wanted[id] if layer == "all" else wanted[id][-1]
        both = torch.cat([states.mean(-2), states.std(-2, correction=0)], -1)
        np.testing.assert_allclose(row, both, atol=2e-5)


def test_one_layer_and_weighted_layers(corpus: Callable[..., Path], encoder: FrameEncoder, tmp_path: Path) -> None:
    (id, states), utterances = next(iter(alone(corpus(), encoder).items())), find_utterances(corpus())[:1]

    def kept(selection: Selection) -> Tensor:
        return dict(hidden_states(encoder, utterances, selection=selection, device="cpu"))[id]

    torch.testing.assert_close(kept(Selection(1)), states[1:2], atol=2e-5, rtol=0)
    torch.testing.assert_close(kept(Selection("1")), states[1:2], atol=2e-5, rtol=0)
    torch.testing.assert_close(kept(Selection("weighted")), states.mean(0, keepdim=True), atol=2e-5, rtol=0)
    (tmp_path / "w.json").write_text(json.dumps([1, 0.5, -2]))
    weights = read_weights(tmp_path / "w.json")
    wanted = (states * torch.tensor(weights)[:, None, None]).sum(0, keepdim=True)
    torch.testing.assert_close(kept(Selection("weighted", weights=weights)), wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("cuts", [[10], [1, 9], [4, 0, 6]])
def test_pooling_in_pieces_is_pooling_at_once(cuts: list[int]) -> None:
    states = torch.randn(10, 4, generator=torch.Generator().manual_seed(0)) * 3 + 100
    ((found,),) = pooled(([piece] for piece in states.split(cuts)), "mean+std")
    torch.testing.assert_close(found[0], torch.cat([states.mean(0), states.std(0, correction=0)]))
    ((mean,),) = pooled(([piece] for piece in states.split(cuts)), "mean")
    torch.testing.assert_close(mean[0], states.mean(0))


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(4), r"layer 4: expected .* to 3"),
        (Selection("top"), "expected all, last, weighted"),
        (Selection("weighted", weights=(1.0, 2.0)), "2 weights for 4 states"),
        (Selection("all", weights=(1.0,) * 4), "expected --layer weighted"),
    ],
)
def test_wrong_selections(selection: Selection, message: str) -> None:
    with pytest.raises(UserError, match=message):
        selection.check(3)


def test_the_verb_takes_a_folder_and_files(corpus: Callable[..., Path], model: Path, tmp_path: Path) -> None:
    words = ["embed", "--model", str(model), "--pool", "mean", "--layer", "last", "--quiet", "--nj", "1", "--device", "cpu"]
    one, two = sorted((corpus() / "wav").iterdir())[:2]
    assert main([*words, str(corpus() / "wav"), str(tmp_path / "folder")]) == 0
    assert main([*words, str(one), str(two), str(tmp_path / "files")]) == 0
    folder, files = scp(tmp_path / "folder" / "emb.scp"), scp(tmp_path / "files" / "emb.scp")
    assert len(folder) == 30
    assert list(files) == [one.stem, two.stem]
    np.testing.assert_allclose(read_matrix(files[one.stem]), read_matrix(folder[one.stem]), atol=2e-5)


def test_what_cannot_be_read_is_listed_or_raised(corpus: Callable[..., Path], encoder: FrameEncoder, tmp_path: Path) -> None:
    utterances = find_utterances(corpus())[:2]
    utterances[0] = utterances[0]._replace(path=str(tmp_path / "gone.wav"))
    bad: list[Bad] = []
    assert len(dict(hidden_states(encoder, utterances, device="cpu", bad=bad))) == 1
    assert [one.id for one in bad] == [utterances[0].id]
    with pytest.raises(UserError, match="no such file"):
        dict(hidden_states(encoder, utterances, device="cpu"))


def test_an_unknown_device() -> None:
    with pytest.raises(UserError, match="expected auto, cpu, cuda"):
        pick_device("tpu")
