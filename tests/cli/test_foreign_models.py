"""Models of other toolkits behind every verb that takes --model, and the cards of exports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from asr_speech import corpus

import sigssl
from sigssl.cli.main import main
from sigssl.data.ark import read_matrix, read_scp
from sigssl.data.io import read_json, read_table
from sigssl.methods import TERA, FrameEncoder
from sigssl.methods.s3prl_layout import export_s3prl
from sigssl.optional import available
from sigssl.training.card import encoder_card, front_matter
from sigssl.training.checkpoint import load_encoder, read_meta, save_encoder

needs_transformers = pytest.mark.skipif(
    not available("transformers"), reason="transformers is not installed: pip install 'sigssl[hf]'"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny HuBERT with random weights, licensed, and sentences to transcribe."""
    import transformers

    folder = tmp_path_factory.mktemp("foreign")
    torch.manual_seed(0)
    config = transformers.HubertConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    transformers.HubertModel(config).save_pretrained(folder / "hubert")
    (folder / "hubert" / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    corpus(folder / "data", 8)
    return folder


@needs_transformers
@torch.no_grad()
def test_embed_with_two_workers(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)  # workers find it from wherever they are
    assert main(["embed", "data", "emb", "--model", "hubert", "--layer", "all", "--nj", "2", "--device", "cpu", "--quiet"]) == 0
    encoder = sigssl.load(place / "hubert")
    table = read_scp(place / "emb" / "emb.layer2.scp")
    assert len(table) == 8
    from sigssl.data import audio

    for id, where in list(table.items())[:2]:
        wave = torch.from_numpy(audio.read(place / "data" / f"{id}.wav", sample_rate=16000))
        states = encoder(wave[None], torch.tensor([wave.shape[1]])).states
        torch.testing.assert_close(torch.from_numpy(read_matrix(where)), states[-1][0], rtol=0, atol=1e-4)
    told = read_json(place / "emb" / "emb.json")
    assert told["config"]["model"] == str(place / "hubert") and told["frame_shift"] == 0.02


@needs_transformers
def test_probe_beside_its_untrained_self(place: Path) -> None:
    corpus(place / "more", 16)
    words = ["--model", str(place / "hubert"), "--data", str(place / "more"), "--out", str(place / "probe")]
    words += ["--target", "speaker", "--folds", "2", "--device", "cpu", "--baselines", "[untrained]", "--heads", "[knn]"]
    words += ["--bootstrap", "50", "--seeds", "1"]
    assert main(["probe", *words]) == 0
    rows = {row["arm"] for row in read_json(place / "probe" / "metrics.json")["rows"]}
    assert rows == {"hubert", "untrained"}


@needs_transformers
def test_finetune_asr_and_transcribe(place: Path) -> None:
    head = {"kind": "linear", "stack": 1, "dropout": 0.0}
    settings = {"head": head, "updates": 2, "batch_seconds": 5.0, "validate_every": 2, "save_every": 2, "tune": "full"}
    (place / "asr.yaml").write_text(yaml.safe_dump(settings))
    words = ["--config", str(place / "asr.yaml"), "--model", str(place / "hubert"), "--quiet", "true"]
    words += ["--train", str(place / "data"), "--dev", str(place / "data"), "--out", str(place / "asr")]
    assert main(["finetune", "asr", *words]) == 0
    assert (
        main(
            ["transcribe", str(place / "data"), "--model", str(place / "asr"), "--out", str(place / "text"), "--quiet", "--nj", "1"]
        )
        == 0
    )
    assert len(read_table(place / "text" / "text")) == 8


@needs_transformers
@torch.no_grad()
def test_export_carries_source_and_licence(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(place / "hubert"), str(place / "ours")]) == 0
    card = place / "ours" / "README.md"
    front = front_matter(card)
    assert front["license"] == "apache-2.0" and front["library_name"] == "sigssl"
    assert "Licence: apache-2.0" in card.read_text() and "3 states of 24 values, one every 20 ms" in card.read_text()
    x, n = torch.randn(1, 1, 4000), torch.tensor([4000])
    for a, b in zip(sigssl.load(place / "hubert")(x, n).states, sigssl.load(place / "ours")(x, n).states, strict=True):
        assert torch.equal(a, b)
    assert main(["export", "s3prl:fbank", str(place / "no")]) == 2
    assert "use it by this name" in capsys.readouterr().err or not available("s3prl")


@pytest.fixture
def tera() -> TERA:
    from sigssl.features import LogMel
    from sigssl.nn import TransformerEncoder
    from sigssl.views import Alter

    torch.manual_seed(0)
    return TERA(FrameEncoder(LogMel(), TransformerEncoder(80, dim=24, layers=2, heads=3, ffn=48)), Alter()).eval()


def test_a_card_says_what_is_known(tera: TERA, tmp_path: Path) -> None:
    data = {"train": "data/libri/train", "hours": 100.25, "speakers": ["a", "b"]}
    meta = {"method": "sigssl.methods.TERA", "updates": 1000, "data": data, "licence": "cc-by-4.0"}
    folder = save_encoder(tmp_path / "exp" / "tera" / "encoder", tera.encoder, meta)
    text = (folder / "README.md").read_text()
    front = front_matter(folder / "README.md")
    assert front["license"] == "cc-by-4.0" and "tera" in front["tags"] and front["pipeline_tag"] == "feature-extraction"
    for said in ("# tera\n", "TERA; 1000 updates", "train, 100.2 hours, 2 speakers", "16000 Hz", 'sigssl.load("FOLDER")'):
        assert said in text, said
    save_encoder(folder, tera.encoder, {}, "# Mine\n")
    assert (folder / "README.md").read_text() == "# Mine\n"


def test_a_card_says_what_is_not_known() -> None:
    text = encoder_card({})
    assert "license: unknown" in text and "not stated" in text and "Trained on: not recorded." in text
    assert "base_model: org/name" in encoder_card({"source": "hf:org/name@abc"})
    assert "finetune sleep" in encoder_card({}, epochs=True)


def test_front_matter_of_odd_files(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    assert front_matter(file) == {}
    for text in ("# no\n", "---\n: [\n---\n", "---\n- a\n---\n", "---\nunfinished\n"):
        file.write_text(text)
        assert front_matter(file) == {}


def test_a_file_of_s3prl_behind_the_same_door(tera: TERA, tmp_path: Path, tiny: Callable[[], Path]) -> None:
    file = export_s3prl(tera, tmp_path / "tera.ckpt")
    meta = read_meta(file)
    assert (meta["dim"], meta["num_layers"], meta["hop"]) == (24, 2, 160)
    out = tmp_path / "emb"
    assert main(["embed", str(tiny()), str(out), "--model", str(file), "--pool", "mean", "--nj", "1", "--quiet"]) == 0
    assert len(read_scp(out / "emb.layer0.scp")) == 4
    (tmp_path / "card.md").write_text("# Ours\n")
    words = ["export", str(file), str(tmp_path / "ours"), "--licence", "mit", "--card", str(tmp_path / "card.md")]
    assert main(words) == 0
    assert (tmp_path / "ours" / "README.md").read_text() == "# Ours\n" and read_meta(tmp_path / "ours")["licence"] == "mit"
    assert load_encoder(tmp_path / "ours").dim == 24
    assert main([*words[:-1], str(tmp_path / "nothing.md")]) == 2


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[[], Path]:
    def make() -> Path:
        corpus(tmp_path / "data", 4)
        return tmp_path / "data"

    return make
