"""NeuroNet on stored nights: whole runs, resuming, what a batch says of its epochs, faults."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sigssl
from sigssl.cli.main import main
from sigssl.data.ark import ArkWriter, merge
from sigssl.data.datadir import DataDir
from sigssl.data.nights import EpochDataset, recording_number
from sigssl.data.scaling import RobustScaler
from sigssl.data.store import StoreInfo
from sigssl.errors import UserError
from sigssl.methods import NeuroNet, NeuroNetEncoder
from sigssl.training.callbacks.watch import Watch
from sigssl.training.options import DataOptions, OptimOptions, TrainerOptions
from sigssl.training.pretrain import pretrain
from sigssl.types import EpochEncoder
from sigssl.views import TokenMask

RATE, SECONDS = 50, 4
STAGES = ("W", "N1", "N2", "N3", "R", "?")
PITCH = (9.0, 5.0, 12.0, 1.5, 3.0, 20.0)


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six nights of three people, 24 to 28 short epochs and some samples more, two channels; each stage has a tone of its own."""
    folder = tmp_path_factory.mktemp("nights")
    rng = np.random.default_rng(0)
    stages = {}
    with ArkWriter(folder / "store") as ark:
        for night in range(6):
            id = f"p{night // 2}-n{night % 2}"
            drawn = rng.integers(0, len(STAGES), 24 + night % 5)
            time = np.arange(RATE * SECONDS) / RATE
            rows = np.concatenate([np.sin(2 * np.pi * PITCH[s] * time + rng.uniform(0, 6)) for s in drawn])
            rows = np.concatenate([rows, np.zeros(17)])
            matrix = np.stack([30 * rows, 10 * rows], 1) + rng.standard_normal((len(rows), 2))
            ark.write(id, matrix.astype(np.float32))
            stages[id] = [STAGES[s] for s in drawn]
    merge(folder / "store")
    StoreInfo("signal", 2, None, RATE, "uV", {}, ["Fpz-Cz", "EOG"]).write(folder / "store")
    for name, people in (("train", "p0 p1"), ("valid", "p2")):
        kept = {id: row for id, row in stages.items() if id.split("-")[0] in people}
        wav = {id: f"{id}.edf" for id in kept}
        DataDir(
            folder / name, wav=wav, utt2spk={id: id.split("-")[0] for id in kept}, stages=kept, epoch_length=float(SECONDS)
        ).write()
    return folder


def method(**changes: Any) -> NeuroNet:
    torch.manual_seed(3)
    encoder = NeuroNetEncoder(
        RATE, float(SECONDS), frame_seconds=1.0, hop_seconds=0.5, widths=[8, 8, 8, 8], token_dim=16, dim=32, heads=2, depth=1
    )
    sizes: dict[str, Any] = {"decoder_dim": 16, "decoder_heads": 2, "projector": [32, 16]}
    return NeuroNet(encoder, TokenMask(0.5), **(sizes | changes))


def options(nights: Path, **changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = {
        "train": str(nights / "train"),
        "feats": str(nights / "store"),
        "batch_epochs": 16,
        "channels": ["Fpz-Cz"],
        "workers": 0,
    }
    trainer = {"updates": 6, "seed": 3, "accelerator": "cpu", "devices": 1, "progress": False}
    trainer |= {"log_every": 2, "save_every": 2, "validate_every": 3, "meter_every": 4}
    return {"data": DataOptions(**(data | changes)), "optim": OptimOptions(lr=1e-3), "trainer": TrainerOptions(**trainer)}


def dataset(nights: Path, part: str = "train", **changes: Any) -> EpochDataset:
    return EpochDataset(DataDir.read(nights / part), nights / "store", float(SECONDS), RobustScaler(), ["Fpz-Cz"], **changes)


def test_a_run_on_nights_leaves_an_encoder_of_epochs(nights: Path, tmp_path: Path) -> None:
    summary = pretrain(method(exclude_neighbours=2), **options(nights, valid=str(nights / "valid")), out=tmp_path / "run")
    assert summary["finished"] and summary["best_valid_loss"] > 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"reconstruction", "contrastive", "contrastive_accuracy", "token_std", "grad_norm"} <= set(rows[0])
    assert "effective_rank" in rows[2]
    encoder = sigssl.load(tmp_path / "run")
    assert isinstance(encoder, EpochEncoder) and encoder.channels == 1
    with torch.no_grad():
        assert encoder(torch.randn(1, 1, RATE * SECONDS)).shape == (1, 32)


def test_stopping_and_going_on_is_bit_exact(nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretrain(method(), **options(nights), out=tmp_path / "whole")
    plain, sent = Watch.on_train_batch_end, []

    def patched(self: Watch, trainer: Any, *args: Any) -> None:
        if trainer.global_step == 4 and not sent:
            sent.append(signal.raise_signal(signal.SIGTERM))
        plain(self, trainer, *args)

    monkeypatch.setattr(Watch, "on_train_batch_end", patched)
    assert pretrain(method(), **options(nights), out=tmp_path / "cut")["stopped_by"] == "SIGTERM"
    assert pretrain(method(), **options(nights), out=tmp_path / "cut")["finished"]
    one, two = (torch.load(tmp_path / run / "checkpoints" / "last.ckpt", weights_only=True) for run in ("whole", "cut"))
    assert all(torch.equal(value, two["state_dict"][name]) for name, value in one["state_dict"].items())


def test_batches_say_where_their_epochs_stand(nights: Path) -> None:
    data = dataset(nights)
    assert len(data) == 24 + 25 + 26 + 27, "whole epochs, unscored ones too; the rest of a night is left out"
    assert data.recordings == ["p0-n0", "p0-n1", "p1-n0", "p1-n1"]
    stages = DataDir.read(nights / "train").stages
    assert [STAGES[label] for label in data.labels.tolist()] == [s for id in data.recordings for s in stages[id]]
    batch = data.collate([(data.piece(item).id, data.read(data.piece(item), 0)) for item in (0, 24, 25)])
    assert batch.x.shape == (3, 1, RATE * SECONDS) and batch.sample_rate == RATE
    assert batch.recording is not None and batch.epoch is not None
    assert batch.recording.tolist() == [recording_number(id) for id in ("p0-n0", "p0-n1", "p0-n1")]
    assert batch.epoch.tolist() == [0, 0, 1]


def test_an_epoch_is_its_rows_scaled_by_its_night(nights: Path) -> None:
    from sigssl.data.ark import read_scp
    from sigssl.data.matrix import read_matrix

    data = dataset(nights)
    whole = torch.from_numpy(read_matrix(read_scp(nights / "store" / "feats.scp")["p0-n1"])[:, :1].T.copy())
    scaled = RobustScaler()(whole)
    length = RATE * SECONDS
    assert torch.equal(data.read(data.piece(24 + 3), 0), scaled[:, 3 * length : 4 * length])


def test_an_unreadable_night_is_set_aside_and_its_epochs_replaced(nights: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "feats.json").write_text((nights / "store" / "feats.json").read_text())
    lines = (nights / "store" / "feats.scp").read_text().splitlines()
    (store / "feats.scp").write_text("\n".join([lines[0].split(":")[0] + ":999999999", *lines[1:]]) + "\n")
    data = EpochDataset(DataDir.read(nights / "train"), store, float(SECONDS), RobustScaler())
    assert [failure.id for failure in data.failed] == ["p0-n0"] and "p0-n0" not in data.recordings
    failed: list[Any] = []
    gone = data.read

    def read(piece: Any, epoch: int) -> torch.Tensor:
        if piece.id.startswith("p0-n1"):
            raise UserError("gone")
        return gone(piece, epoch)

    data.read = read  # type: ignore[method-assign]
    id, _ = data._read_or_replace(0, 0, failed)
    assert id == "p1-n0#0" and len(failed) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": ["Cz"]}, "no channel 'Cz'; it holds Fpz-Cz, EOG"),
        ({"channels": None}, "2 channels"),
        ({"feats": None}, "no usable utterance"),
    ],
)
def test_what_does_not_fit_is_told(nights: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        pretrain(method(), **options(nights, **changes), out=tmp_path / "run")


def test_the_verb_trains_the_tiny_configuration(nights: Path, tmp_path: Path) -> None:
    conf = Path(__file__).resolve().parents[2] / "recipes" / "conf" / "neuronet" / "base.yaml"
    words = ["pretrain", "--config", str(conf), "--tiny", f"data.train={nights / 'train'}", f"data.feats={nights / 'store'}"]
    words += ["data.channels=[Fpz-Cz]", "trainer.updates=2", "trainer.accelerator=cpu", "trainer.progress=false"]
    words += [f"method.init_args.encoder.init_args.sample_rate={RATE}", f"out={tmp_path / 'run'}"]
    words += [f"method.init_args.encoder.init_args.epoch_seconds={SECONDS}"]
    words += ["method.init_args.encoder.init_args.hop_seconds=0.5", "method.init_args.encoder.init_args.frame_seconds=1.0"]
    assert main(words) == 0
    assert (tmp_path / "run" / "encoder" / "model.safetensors").is_file()


def test_neighbours_find_the_stages(nights: Path) -> None:
    """Vectors that tell the tones apart put validation epochs among training epochs of their stage."""
    from sigssl.training.callbacks.neighbours import measure

    class Spectrum(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.rfft(x[:, 0]).abs()[:, [round(pitch * SECONDS) for pitch in PITCH]]

    found = measure(Spectrum(), dataset(nights), dataset(nights, "valid"))
    assert found["knn_accuracy"] > 0.9 and found["knn_kappa"] > 0.85 and found["knn_macro_f1"] > 0.8
    assert set(measure(method().encoder, dataset(nights), dataset(nights, "valid"))) == set(found)


def test_embeddings_of_stored_nights(nights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sigssl.data.ark import read_matrix, read_scp
    from sigssl.training.checkpoint import save_encoder

    encoder = method().encoder.eval()
    save_encoder(tmp_path / "encoder", encoder, {"data": {"channels": ["Fpz-Cz"]}})
    words = ["embed", "--model", str(tmp_path / "encoder"), str(nights / "store"), str(tmp_path / "emb"), "--device", "cpu"]
    assert main(words) == 0 and main(words) == 0, "a second time nothing is left to do"
    emb = read_scp(tmp_path / "emb" / "emb.scp")
    assert len(emb) == 6 and StoreInfo.read(tmp_path / "emb", "emb").frame_shift == SECONDS
    stored = torch.from_numpy(read_matrix(read_scp(nights / "store" / "feats.scp")["p1-n0"])[:, :1].T.copy())
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(read_matrix(emb["p1-n0"])), encoder.epochs(stored))
    save_encoder(tmp_path / "encoder", method(alpha=0.5, target="raw_patch").encoder.float(), {"data": {"channels": ["EOG"]}})
    assert main(words) != 0 and "another model or store" in capsys.readouterr().err
