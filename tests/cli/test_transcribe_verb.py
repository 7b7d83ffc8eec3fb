"""`sigssl finetune asr` and `sigssl transcribe`, from recordings to text."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from asr_speech import RATE, corpus

from sigssl.cli.main import main
from sigssl.data.io import read_json, read_table

FEATURES = {
    "features": {
        "class_path": "sigssl.features.LogMel",
        "init_args": {"n_mels": 40, "sample_rate": RATE, "cmvn": "utterance"},
    }
}
HEAD = {"kind": "blstm", "stack": 3, "projection": 32, "hidden": 32, "layers": 1, "dropout": 0.0}
SETTINGS = {"head": HEAD, "updates": 150, "batch_seconds": 20.0, "lr": 2e-2, "validate_every": 50, "save_every": 50}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on sixteen sentences, tested on the same."""
    place = tmp_path_factory.mktemp("asr")
    corpus(place / "data", 16)
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
    assert (
        main(
            [
                "transcribe",
                str(trained / "data"),
                "--model",
                str(trained / "exp"),
                "--out",
                str(out),
                "--quiet",
                "--keep-logprobs",
                "--nj",
                "1",
            ]
        )
        == 0
    )
    assert read_table(out / "text") == read_table(trained / "data/text")
    assert main(["decode", str(out / "logprobs"), str(trained / "again"), "--quiet", "--nj", "1"]) == 0
    for name in ("text", "ctm", "nbest.jsonl"):
        assert (out / name).read_text() == (trained / "again" / name).read_text()
