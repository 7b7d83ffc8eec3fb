"""Training and extraction straight from lhotse Shar: the numbers of the same recordings as files; going on is bit-exact."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sigssl.cli.main import main
from sigssl.data.ark import read_matrix, read_scp
from sigssl.data.datadir import DataDir
from sigssl.data.io import read_json
from sigssl.data.shar import read_shar
from sigssl.methods import TERA
from sigssl.training.datamodule import DataModule, open_dataset
from sigssl.training.pretrain import pretrain

pytest.importorskip("lhotse", reason="lhotse is not installed")


@pytest.fixture(scope="module")
def shar(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lhotse") / "shar"
    assert main(["lhotse", "to", str(recordings), str(folder), "--shar", "5"]) == 0
    return folder


def test_a_run_that_was_stopped_equals_one_that_was_not(
    shar: Path, tera: Callable[..., TERA], sections: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = sections(train=f"shar:{shar}", window=6)
    assert pretrain(tera(), **options, out=tmp_path / "whole")["finished"]
    from sigssl.training.callbacks.watch import Watch

    after = Watch.on_train_batch_end

    def stop(self: Watch, trainer: Any, *rest: Any) -> None:
        after(self, trainer, *rest)
        if trainer.global_step == 3:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Watch, "on_train_batch_end", stop)
    assert not pretrain(tera(), **options, out=tmp_path / "cut")["finished"]
    monkeypatch.undo()
    assert pretrain(tera(), **options, out=tmp_path / "cut")["finished"]
    one, other = (load_file(tmp_path / name / "encoder" / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert len(read_json(tmp_path / "whole" / "run.json")["data"]["train_sha256"]) == 64


def test_ranks_and_workers_read_their_own(
    shar: Path, tera: Callable[..., TERA], sections: Callable[..., dict[str, Any]], recordings: Path
) -> None:
    options = sections(train=f"shar:{shar}", window=6, crop_seconds=None)["data"]
    data = open_dataset(options.train, None, options, tera().encoder, 0)
    assert data.shards is not None and np.bincount(data.shards).tolist() == [5, 5, 5, 5, 4]
    plain = DataDir.read(recordings)
    seen: list[str] = []
    for rank in range(2):
        module = DataModule(data, None, options, seed=0, world=2, rank=rank, workers=rank)
        batches = iter(module.train_dataloader())
        for _ in range(module.batching.steps(0)):
            loaded = next(batches)
            seen += loaded.batch.ids
            for id, row, length in zip(loaded.batch.ids, loaded.batch.x, loaded.batch.lengths, strict=True):
                from sigssl.data import audio

                assert torch.equal(row[:, :length], torch.from_numpy(audio.read(plain.wav[id])))
    assert sorted(seen) == plain.ids()


def test_features_and_embeddings_are_those_of_the_files(shar: Path, recordings: Path, tmp_path: Path) -> None:
    words = ["--config", "recipes/conf/features/logmel.yaml", "--quiet", "--nj", "1"]
    for source, name in ((str(recordings), "files"), (f"shar:{shar}", "shar")):
        assert main(["features", *words, source, str(tmp_path / name), "--data-out", str(tmp_path / f"{name}-data")]) == 0
    files, packed = (read_scp(tmp_path / name / "feats.scp") for name in ("files", "shar"))
    assert list(packed) == sorted(files)
    assert all(np.allclose(read_matrix(files[id]), read_matrix(packed[id]), atol=1e-5) for id in files)
    assert DataDir.read(tmp_path / "shar-data").wav == dict(sorted(read_shar(shar).wav.items()))
