"""Hidden states equal to transformers' own model on unpadded items, in ragged batches, windows and streams; folders and the hub."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import sigssl
from sigssl.errors import UserError
from sigssl.optional import available
from sigssl.training.checkpoint import load_encoder, model_name, read_meta, save_encoder
from sigssl.training.foreign import ALLOW

if not available("transformers"):
    pytest.skip("transformers is not installed: pip install 'sigssl[hf]'", allow_module_level=True)

import transformers

from sigssl.interop import convolutions
from sigssl.interop.transformers import FAMILIES, TransformersEncoder, classes

TINY = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48, "conv_dim": (16,) * 7}
LAYER = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
CASES = [(family, style) for family in FAMILIES for style in ("base", "large") if (family, style) != ("data2vec-audio", "large")]
DROPOUTS = ("hidden_dropout", "attention_dropout", "feat_proj_dropout")
LENGTHS = (16000, 9001, 720, 719, 400, 1)


def reference(family: str, style: str = "base", **changes: Any) -> Any:
    """A random model of transformers, none of whose parameters are where they start."""
    torch.manual_seed(0)
    positions = {} if family == "data2vec-audio" else {"num_conv_pos_embeddings": 16}
    settings, model = classes(family)
    config = settings(**{**TINY, "num_conv_pos_embedding_groups": 2, **positions, **(LAYER if style == "large" else {}), **changes})
    made = model(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return made


def normalises(model: Any) -> bool:
    return model.config.model_type == "data2vec-audio" or model.config.feat_extract_norm == "layer"


def wrapped(model: Any, **settings: Any) -> TransformersEncoder:
    encoder = TransformersEncoder(model.config.to_dict(), normalises(model), **settings)
    state = {name: value for name, value in model.state_dict().items() if name != "masked_spec_embed"}
    encoder.model.load_state_dict(state)
    return encoder.eval()


@torch.no_grad()
def alone(model: Any, signal: Tensor) -> list[Tensor]:
    """States of one item as transformers gives them, prepared by its own feature extractor."""
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalises(model))
    x = extractor(signal.numpy(), sampling_rate=16000, return_tensors="pt").input_values
    x = torch.nn.functional.pad(x, (0, max(0, 400 - x.shape[1])))
    out = model(x, output_hidden_states=True)
    return [*out.hidden_states[:-1], out.last_hidden_state]


def batch(lengths: tuple[int, ...] = LENGTHS) -> tuple[Tensor, Tensor]:
    x = torch.randn(len(lengths), 1, max(lengths), generator=torch.Generator().manual_seed(1)) * 0.1 + 0.02
    for item, length in enumerate(lengths):
        x[item, :, length:] = float("nan")
    return x, torch.tensor(lengths)


@pytest.mark.parametrize(("family", "style"), CASES)
@torch.no_grad()
def test_every_item_of_a_ragged_batch_is_what_transformers_gives_alone(family: str, style: str) -> None:
    model = reference(family, style)
    x, lengths = batch()
    hidden = wrapped(model)(x, lengths)
    assert len(hidden.states) == 4
    assert hidden.lengths.tolist() == [49, 27, 2, 1, 1, 1]
    for item, length in enumerate(lengths.tolist()):
        for ours, theirs in zip(hidden.states, alone(model, x[item, 0, :length]), strict=True):
            torch.testing.assert_close(ours[item : item + 1, : theirs.shape[1]], theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm", "data2vec-audio"])
@torch.no_grad()
def test_base_sizes(family: str) -> None:
    """The published widths, cut to two layers."""
    torch.manual_seed(0)
    settings, make = classes(family)
    model = make(settings(num_hidden_layers=2)).eval()
    x, lengths = batch((8000, 5000))
    hidden = wrapped(model)(x, lengths)
    for item, length in enumerate(lengths.tolist()):
        for ours, theirs in zip(hidden.states, alone(model, x[item, 0, :length]), strict=True):
            torch.testing.assert_close(ours[item : item + 1, : theirs.shape[1]], theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("family", "style"), [("wav2vec2", "base"), ("wavlm", "large"), ("data2vec-audio", "base")])
@torch.no_grad()
def test_streaming_equals_the_whole(family: str, style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolutions, "ROWS", 37)
    encoder = wrapped(reference(family, style), window=100, overlap=40)
    for samples in (1, 399, 400, 32000, 16000 * 5 + 77):
        x, lengths = batch((samples,))
        whole = encoder(x, lengths)
        pieces = list(encoder.stream(lambda x=x: iter(x[0, 0].split(7001))))
        assert max(len(piece[0]) for piece in pieces) <= 100
        for ours, joined in zip(whole.states, map(torch.cat, zip(*pieces, strict=True)), strict=True):
            torch.testing.assert_close(joined, ours[0], rtol=0, atol=1e-4)


def test_windows_change_little_far_from_their_ends() -> None:
    """With the window longer than the signal it is transformers' result; a shorter one is near it."""
    model = reference("wav2vec2")
    x, lengths = batch((16000 * 3,))
    with torch.no_grad():
        whole, cut = (wrapped(model, window=window, overlap=60)(x, lengths).states[0] for window in (1500, 100))
    assert (whole - cut)[:, :60].abs().max() < 1e-4  # the embedding of the first window sees 8 frames to the right


@pytest.mark.parametrize(("kernel", "stride", "rows", "block"), [(10, 5, 3, 4), (400, 320, 2, 1000), (3, 2, 1, 1), (4, 4, 7, 100)])
def test_pieces_hold_every_frame_once(kernel: int, stride: int, rows: int, block: int) -> None:
    for samples in (0, 1, kernel - 1, kernel, kernel + stride, 5 * kernel + 1):
        signal = torch.arange(float(samples))
        cut = convolutions.pieces(iter(signal.split(block)), kernel, stride, kernel, rows)
        got = [frame for piece in cut for frame in piece.unfold(0, kernel, stride)]
        filled = torch.nn.functional.pad(signal, (0, max(0, kernel - samples)))
        expected = filled.unfold(0, kernel, stride) if samples else torch.zeros(0, kernel)
        assert len(got) == len(expected)
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_training_mode_neither_masks_nor_skips_and_the_front_stays() -> None:
    model = reference("wav2vec2", mask_time_prob=0.5, layerdrop=0.9, **dict.fromkeys(DROPOUTS, 0.0))
    encoder = wrapped(model).train()
    x, lengths = batch((16000, 9000))
    hidden = encoder(x, lengths)
    with torch.no_grad():
        still = wrapped(model)(x, lengths)
    assert len(hidden.states) == 4
    torch.testing.assert_close(hidden.states[0].detach()[0], still.states[0][0], rtol=0, atol=1e-4)
    sum(state.square().mean() for state in hidden.states).backward()
    touched = {name.split(".")[1] for name, p in encoder.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert touched == {"feature_projection", "encoder"}
    tuned = wrapped(model, train_front=True).train()
    tuned(x, lengths).states[-1].square().mean().backward()
    assert all(p.grad is not None for p in tuned.model.feature_extractor.parameters())


def test_parts_to_train() -> None:
    for family, style in (("hubert", "base"), ("hubert", "large")):
        encoder = wrapped(reference(family, style))
        assert encoder.trainable("frozen") == []
        last = {id(p) for p in encoder.trainable("last_block")}
        assert last >= {id(p) for p in encoder.model.encoder.layers[-1].parameters()}
        assert ({id(p) for p in encoder.model.encoder.layer_norm.parameters()} <= last) == (style == "large")
        assert not {id(p) for p in encoder.trainable("full")} & {id(p) for p in encoder.model.feature_extractor.parameters()}


@pytest.mark.parametrize("head", ["Wav2Vec2ForCTC", "HubertForCTC", "WavLMForCTC", "Data2VecAudioForCTC", "Wav2Vec2ForPreTraining"])
@torch.no_grad()
def test_checkpoints_with_heads(head: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    cls = getattr(transformers, head)
    positions = {} if head.startswith("Data2Vec") else {"num_conv_pos_embeddings": 16}
    config = cls.config_class(**TINY, num_conv_pos_embedding_groups=2, vocab_size=12, codevector_dim=8, **positions)
    model = cls(config).eval()
    model.save_pretrained(tmp_path)
    encoder = sigssl.load(tmp_path)
    x, lengths = batch((4000,))
    expected = alone(model.base_model, x[0, 0])
    for ours, theirs in zip(encoder(x, lengths).states, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    reference("hubert").save_pretrained(tmp_path / "hubert")
    return tmp_path / "hubert"


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weight norm as torch named it before 2.1."""
    return {k.replace("parametrizations.weight.original0", "weight_g").replace("parametrizations.weight.original1", "weight_v"): v
            for k, v in state.items()}  # fmt: skip


def pickled(folder: Path) -> Path:
    """The folder with pytorch_model.bin in place of safetensors."""
    torch.save(old_names(reference("hubert").state_dict()), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


@torch.no_grad()
def test_a_folder_loads_and_its_meta_tells(folder: Path) -> None:
    encoder = sigssl.load(folder)
    meta = read_meta(folder)
    for name in ("dim", "hop", "num_layers", "sample_rate"):
        assert meta[name] == getattr(encoder, name)
    assert not encoder.training and meta["normalize"] is False and len(meta["weights_sha256"]) == 64
    x, lengths = batch((4000,))
    before = encoder(x, lengths).states
    for a, b in zip(before, alone(reference("hubert"), x[0, 0]), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)
    again = load_encoder(pickled(folder))
    assert all(torch.equal(a, b) for a, b in zip(before, again(x, lengths).states, strict=True))
    assert model_name(folder) == str(folder.resolve())


@torch.no_grad()
def test_weights_in_several_files(folder: Path, tmp_path: Path) -> None:
    reference("hubert").save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert (tmp_path / "shards" / "model.safetensors.index.json").is_file()
    x, lengths = batch((4000,))
    whole, parts = (sigssl.load(place)(x, lengths).states for place in (folder, tmp_path / "shards"))
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))
    assert len(read_meta(tmp_path / "shards")["weights_sha256"]) == 64


def test_half_precision_weights_are_read_as_floats(folder: Path) -> None:
    reference("hubert").half().save_pretrained(folder)
    assert {p.dtype for p in sigssl.load(folder).parameters()} == {torch.float32}  # type: ignore[attr-defined]


def test_what_the_preprocessor_says_wins(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True, "sampling_rate": 8000}))
    encoder = sigssl.load(folder)
    assert encoder.normalize and encoder.sample_rate == 8000
    assert read_meta(folder)["normalize"] is True


@torch.no_grad()
def test_saved_as_one_of_ours(folder: Path, tmp_path: Path) -> None:
    encoder = sigssl.load(folder)
    again = sigssl.load(save_encoder(tmp_path / "ours", encoder, {"source": "hf:org/name", "licence": "mit"}))
    x, lengths = batch((4000, 999))
    for a, b in zip(encoder(x, lengths).states, again(x, lengths).states, strict=True):
        assert torch.equal(a, b)


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("/tmp/should-not-be-there"),))


def test_refusals(folder: Path, tmp_path: Path) -> None:
    x = torch.zeros(1, 2, 800)
    with pytest.raises(UserError, match="one channel"):
        sigssl.load(folder)(x, torch.tensor([800]))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    with pytest.raises(UserError, match=r"lacks .* tensors of the encoder"):
        sigssl.load(folder)
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(UserError, match="model_type 'bert'; speech encoders known here: wav2vec2"):
        sigssl.load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match="no readable JSON"):
        sigssl.load(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"cannot be read .*; copy it again"):
        sigssl.load(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no weights; expected model\.safetensors"):
        sigssl.load(folder)
    evil = {"hubert.x": Malicious()}
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(evil))
    torch.save(evil, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"tensors and plain values only"):
        sigssl.load(folder)
    assert not Path("/tmp/should-not-be-there").exists()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv(ALLOW, raising=False)
    return tmp_path / "hub"


def test_a_model_that_is_not_cached_is_not_fetched_unasked(hub: Path) -> None:
    for use in (sigssl.load, read_meta, model_name):
        with pytest.raises(UserError, match=f"nothing is downloaded unasked.*{ALLOW}=1.*hf download org/name .* pass FOLDER"):
            use("hf:org/name")
    for wrong in ("hf:a/b/c", "hf:/", "hf:bad name/x"):
        with pytest.raises(UserError, match="expected hf:ORG/NAME"):
            sigssl.load(wrong)


@torch.no_grad()
def test_from_the_cache(hub: Path, folder: Path) -> None:
    commit = "0" * 40
    home = hub / "models--org--name"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    (home / "snapshots").mkdir()
    folder.rename(home / "snapshots" / commit)
    (home / "snapshots" / commit / "README.md").write_text("---\nlicense: mit\n---\n# x\n")
    assert sigssl.load("hf:org/name").dim == 32
    assert sigssl.load(f"hf:org/name@{commit}").dim == 32
    meta = read_meta("hf:org/name")
    assert meta["source"] == "hf:org/name" and meta["licence"] == "mit"
    assert model_name("hf:org/name") == "hf:org/name"


@pytest.fixture
def online(hub: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """A hub that has one model."""
    import huggingface_hub

    asked: list[Any] = []
    files = [SimpleNamespace(rfilename=f.name, size=f.stat().st_size) for f in folder.iterdir()]
    files.append(SimpleNamespace(rfilename="tf_model.h5", size=9))
    info = SimpleNamespace(siblings=files, card_data=SimpleNamespace(license="cc-by-nc-4.0"))

    def fetch(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        return str(folder)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *a, **k: info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.setenv(ALLOW, "1")
    yield asked


def test_a_download_says_licence_and_size_first(online: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert sigssl.load("hf:org/name").dim == 32
    assert online == [["config.json", "model.safetensors"]]
    said = capsys.readouterr().err
    assert "licence cc-by-nc-4.0" in said and "MB to download (config.json, model.safetensors)" in said


def test_a_download_that_fails_says_how_to_pass_a_folder(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def dead(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route\nmore")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", dead)
    monkeypatch.setenv(ALLOW, "1")
    with pytest.raises(UserError, match=r"cannot be downloaded \(ConnectionError: no route\).*pass FOLDER"):
        sigssl.load("hf:org/name")


@torch.no_grad()
def test_group_norm_of_a_padded_batch_is_that_of_each_item() -> None:
    """As it is computed on a GPU, where a batch stays whole."""
    front = wrapped(reference("hubert")).front
    x, lengths = batch((4000, 2500, 400))
    signal = x[:, 0].nan_to_num(0.0)
    assert front.group is not None
    whole = front._others(
        convolutions._group_norm(front._first(signal), front.group, torch.div(lengths - 10, 5, rounding_mode="floor") + 1)
    )
    for a, b, n in zip(whole, front(signal, lengths), front.count(lengths).tolist(), strict=True):
        torch.testing.assert_close(a[:n], b[:n], rtol=0, atol=1e-5)
