"""`sigssl finetune asr` and `sigssl transcribe`, from recordings to text."""

from __future__ import annotations

from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile
import yaml
from asr_speech import RATE, corpus, say, texts

from sigssl.cli.main import main
from sigssl.data.io import read_json, read_table

FEATURES = {
    "features": {
        "class_path": "sigssl.features.LogMel",
        "init_args": {"n_mels": 40, "sample_rate": RATE, "cmvn": "utterance"},
    }
}
HEAD = {"kind": "blstm", "stack": 3, "projection": 32, "hidden": 32, "layers": 1, "dropout": 0.0}
SETTINGS = {"head": HEAD, "updates": 300, "batch_seconds": 20.0, "lr": 1e-2, "validate_every": 100, "save_every": 300}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on twelve sentences, tested on the same."""
    place = tmp_path_factory.mktemp("asr")
    corpus(place / "data", 12, words=6)
    (place / "logmel.yaml").write_text(yaml.safe_dump(FEATURES))
    (place / "tiny.yaml").write_text(yaml.safe_dump(SETTINGS))
    words = ["--config", str(place / "tiny.yaml"), "--features", str(place / "logmel.yaml"), "--quiet", "true"]
    words += ["--train", str(place / "data"), "--dev", str(place / "data"), "--out", str(place / "exp")]
    assert main(["finetune", "asr", *words]) == 0
    return place


def test_a_few_utterances_are_learned_by_heart(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = read_json(trained / "exp/metrics.json")
    assert metrics["wer"] == 0 and metrics["cer"] == 0 and metrics["infinite_losses"] == 0
    out = trained / "out"
    assert transcribe(trained, trained / "data", "out", "--keep-logprobs") == 0
    assert read_table(out / "text") == read_table(trained / "data/text")
    assert main(["decode", str(out / "logprobs"), str(trained / "again"), "--quiet", "--nj", "1", "--beam", "6"]) == 0
    for name in ("text", "ctm", "nbest.jsonl"):
        assert (out / name).read_text() == (trained / "again" / name).read_text()


def transcribe(place: Path, source: Path, out: str, *words: str, model: str = "exp") -> int:
    command = ["transcribe", str(source), "--model", str(place / model), "--out", str(place / out), "--beam", "6", "--quiet"]
    return main([*command, *(words if "--nj" in words else (*words, "--nj", "1"))])


def test_a_long_recording_streams_to_the_same_text(trained: Path) -> None:
    said = texts(12, words=6) * 8
    signal = say(" ".join(said))
    (trained / "long").mkdir()
    soundfile.write(trained / "long/talk.wav", signal, RATE)
    assert len(signal) > 180 * RATE
    whole = ["--stream-above", "1e6", "--longest", "1e6"]
    for method in ("greedy", "beam"):
        assert transcribe(trained, trained / "long", f"whole_{method}", "--method", method, *whole) == 0
        pieces = ["--stream-above", "5", "--longest", "4", "--keep-logprobs"]
        assert transcribe(trained, trained / "long", f"pieces_{method}", "--method", method, *pieces) == 0
        texts_ = [read_table(trained / f"{how}_{method}/text")["talk"] for how in ("whole", "pieces")]
        assert texts_[0] == texts_[1] if method == "greedy" else jiwer.cer(*texts_) < 0.01  # a beam of 6 drops some paths
        assert jiwer.cer(" ".join(said), texts_[0]) < 0.2  # longer than all it has learned
    ctms = [[line.split() for line in (trained / f"{how}_greedy/ctm").read_text().splitlines()] for how in ("whole", "pieces")]
    assert [line[4] for line in ctms[0]] == [line[4] for line in ctms[1]]
    assert np.allclose([float(line[2]) for line in ctms[0]], [float(line[2]) for line in ctms[1]], atol=0.031)
    store = trained / "pieces_greedy/logprobs"
    assert (
        main(["decode", str(store), str(trained / "redone"), "--method", "greedy", "--longest", "4", "--quiet", "--nj", "1"]) == 0
    )
    assert (trained / "redone/text").read_bytes() == (trained / "pieces_greedy/text").read_bytes()


def test_any_rate_any_channels_and_bad_files(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained / "mixed"
    folder.mkdir()
    expected = {}
    for number, (text, rate) in enumerate(zip(texts(4, words=6), (8000, 16000, 44100, 11025), strict=True)):
        signal = say(text, number, rate)
        soundfile.write(folder / f"r{rate}.flac", np.stack([signal, 0 * signal], 1) if number % 2 else signal, rate)
        expected[f"r{rate}"] = text
    (folder / "broken.wav").write_bytes(b"RIFF nothing")
    soundfile.write(folder / "empty.wav", np.zeros(0), RATE)
    long = say(" ".join(texts(30, seed=3)))
    soundfile.write(folder / "cut.wav", long, RATE)
    content = (folder / "cut.wav").read_bytes()
    (folder / "cut.wav").write_bytes(content[: len(content) // 2])
    for nj in ("1", "2"):
        assert transcribe(trained, folder, f"mixed_{nj}", "--nj", nj, "--stream-above", "5") == 1
        heard = read_table(trained / f"mixed_{nj}/text")
        assert heard.keys() == expected.keys() and jiwer.cer([*expected.values()], [heard[id] for id in expected]) < 0.1
        bad = (trained / f"mixed_{nj}/quarantine.tsv").read_text().splitlines()
        assert [line.split("\t")[0] for line in bad] == ["broken", "cut", "empty"]
    assert "3 set aside" in capsys.readouterr().err
    assert (trained / "mixed_1/nbest.jsonl").read_bytes() == (trained / "mixed_2/nbest.jsonl").read_bytes()


def test_a_hybrid_is_decoded_jointly(trained: Path) -> None:
    head = HEAD | {"kind": "seq2seq", "decoder": {"dim": 32, "layers": 1, "heads": 2, "ffn": 64, "dropout": 0.0}}
    (trained / "hybrid.yaml").write_text(yaml.safe_dump(SETTINGS | {"head": head, "tokens": "words", "updates": 200}))
    words = ["--config", str(trained / "hybrid.yaml"), "--features", str(trained / "logmel.yaml"), "--quiet", "true"]
    words += ["--train", str(trained / "data"), "--dev", str(trained / "data"), "--out", str(trained / "hybrid")]
    assert main(["finetune", "asr", *words]) == 0
    assert transcribe(trained, trained / "data", "joint", "--nbest", "2", "--joint-beam", "3", model="hybrid") == 0
    assert read_table(trained / "joint/text") == read_table(trained / "data/text")
    assert transcribe(trained, trained / "data", "joint_long", "--stream-above", "0.5", "--longest", "5", model="hybrid") == 0
    assert read_table(trained / "joint_long/text") == read_table(trained / "data/text")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "joint"], "attention decoder"),
        (["--method", "greedy", "--lm", "x.arpa"], "greedy decoding has no language model"),
        (["--nj", "-1"], "--nj -1"),
    ],
)
def test_wrong_usage_of_transcribe(trained: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert transcribe(trained, trained / "data", "no", *words) == 2
    assert said in capsys.readouterr().err


def test_wrong_usage_of_finetune(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--train", str(trained / "data"), "--dev", str(trained / "data"), "--out", str(trained / "x")]
    assert main(["finetune", "asr", *data]) == 2
    assert "--model" in capsys.readouterr().err
    assert main(["finetune", "asr", *data, "--features", str(trained / "tiny.yaml")]) == 2
    assert "expected a YAML file with features" in capsys.readouterr().err
    assert main(["finetune", "asr", *data, "--updatez", "3"]) == 2
    assert "updates" in capsys.readouterr().err


def test_the_card_says_what_it_is(trained: Path) -> None:
    card = (trained / "exp/recogniser/README.md").read_text()
    assert "WER 0.0%" in card and "case 'lower'" in card and "12 utterances" in card and "sigssl transcribe" in card
    assert str(trained) not in card
