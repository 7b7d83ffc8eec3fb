"""The parts around the steps: whole checkpoints only, records cut at the checkpoint, meters, and the guard."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sigssl.data.batching import Planned, Position
from sigssl.data.datadir import DataDir
from sigssl.data.dataset import Failure
from sigssl.errors import UserError
from sigssl.methods import TERA
from sigssl.training.callbacks.guard import Guard
from sigssl.training.callbacks.keeper import WholeCheckpointIO, damage, find_checkpoint
from sigssl.training.callbacks.meters import collapsed, effective_rank, measure
from sigssl.training.callbacks.metrics import MetricsFile, TensorBoard
from sigssl.training.datamodule import check_store, open_dataset
from sigssl.training.options import DataOptions
from sigssl.training.pretrain import pretrain
from sigssl.training.tally import Skipped
from sigssl.types import Batch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    io = WholeCheckpointIO()
    for name, value in (("previous", 1.0), ("last", 2.0)):
        io.save_checkpoint({"state_dict": {"w": torch.full((5000,), value)}}, tmp_path / f"{name}.ckpt")
    return tmp_path


def test_the_last_checkpoint_is_taken(folder: Path) -> None:
    found = find_checkpoint(folder)
    assert found is not None and found.name == "last.ckpt"
    assert WholeCheckpointIO().load_checkpoint(found)["state_dict"]["w"][0] == 2.0
    assert sorted(path.name for path in folder.iterdir()) == ["last.ckpt", "previous.ckpt"]
    assert find_checkpoint(folder / "nothing") is None


@pytest.mark.parametrize("how", ["cut", "flipped", "empty"])
def test_a_damaged_checkpoint_is_never_read(folder: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    last = folder / "last.ckpt"
    content = bytearray(last.read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 1
    last.write_bytes({"cut": content[: len(content) // 2], "flipped": content, "empty": b""}[how])
    assert damage(last)
    found = find_checkpoint(folder)
    assert found is not None and found.name == "previous.ckpt" and "last.ckpt is not whole" in caplog.text
    (folder / "previous.ckpt").write_bytes(b"")
    with pytest.raises(UserError, match=r"(?s)last\.ckpt.*previous\.ckpt.*--resume never"):
        find_checkpoint(folder)


def test_a_checkpoint_with_code_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "hyper": Path("x").joinpath}, tmp_path / "x.ckpt")
    with pytest.raises(Exception, match="Weights only load failed"):
        WholeCheckpointIO().load_checkpoint(tmp_path / "x.ckpt")


def test_records_behind_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path, 0)
    for step in (1, 2, 3):
        file.write({"step": float(step), "loss": math.nan})
    with path.open("a") as half:
        half.write('{"step": 4, "lo')
    MetricsFile(path, 2)
    assert path.read_text().splitlines() == ['{"step": 1, "loss": null}', '{"step": 2, "loss": null}']


def test_tensorboard_gets_the_rows(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path, 0)
    board.write({"step": 1.0, "loss": 0.5})
    board.close()
    assert b"loss" in next(tmp_path.glob("events*")).read_bytes()


def test_effective_rank_of_known_spectra() -> None:
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(100, 8)).Q
    basis = torch.linalg.qr(basis - basis.mean(0)).Q  # 8 orthonormal columns without mean
    assert effective_rank(basis) == pytest.approx(8.0, rel=1e-4)
    assert effective_rank(basis[:, :1] @ torch.ones(1, 20)) == pytest.approx(1.0, abs=1e-3)
    assert effective_rank(torch.ones(10, 4)) == 0.0
    singular = torch.tensor([4.0, 2.0, 1.0, 1.0])
    share = singular / singular.sum()
    wanted = float(torch.exp(-(share * share.log()).sum()))
    assert effective_rank(basis[:, :4] * singular) == pytest.approx(wanted, rel=1e-4)


def test_meters_see_a_collapse(tera: Callable[[], TERA]) -> None:
    method = tera()
    lengths = torch.tensor([16000, 8000])
    batch = Batch(torch.randn(2, 1, 16000), lengths, ("a", "b"), False, 16000)
    healthy = measure(method.encoder, batch)
    frames, counts = method.encoder.frames(batch)
    assert measure(method.encoder, Batch(frames, counts, ("a", "b"), True, 16000)) == pytest.approx(healthy)
    assert healthy["effective_rank"] > 4 and not collapsed(healthy) and method.encoder.training
    with torch.no_grad():
        for parameter in method.encoder.body.parameters():
            parameter.zero_()
    assert collapsed(measure(method.encoder, batch)) and not collapsed({})


def test_the_guard_lists_and_stops(
    tmp_path: Path, recordings: Path, tera: Callable[[], TERA], caplog: pytest.LogCaptureFixture
) -> None:
    data = open_dataset(str(recordings), None, DataOptions(str(recordings)), tera().encoder, 0)
    guard = Guard(tmp_path, data, bad_share=0.1, limit=2)
    for _ in range(2):
        guard.failures([Failure("u1", "u1.wav", "gone\nfor good"), Failure("u2", "u2.wav", "gone")])
    assert (tmp_path / "quarantine.tsv").read_text() == "u1\tu1.wav\tgone for good\nu2\tu2.wav\tgone\n"
    with pytest.raises(UserError, match=r"3 of 24 utterances cannot be read, more than data\.bad_share = 0\.1"):
        guard.failures([Failure("u3", "u3.wav", "gone")])
    planned = Planned(Position(2, 1), (4, 7))
    guard.updates([Skipped(9, [planned])])
    assert "update 9, utterances u04, u07" in caplog.text and guard.skipped == 1
    kept = torch.load(tmp_path / "bad" / "update-9.pt", weights_only=True)
    assert kept[0]["ids"] == ["u04", "u07"] and torch.equal(kept[0]["x"], data[planned].batch.x)
    with pytest.raises(UserError, match=r"3 updates were skipped.*the first: update 9, utterances u04, u07"):
        guard.updates([Skipped(10, [planned]), Skipped(11, [planned])])


def test_bad_files_in_a_run(
    tmp_path: Path, recordings: Path, tera: Callable[[], TERA], sections: Callable[..., dict[str, Any]]
) -> None:
    data = DataDir.read(recordings)
    data.path = tmp_path / "data"
    data.utt2dur = dict.fromkeys(data.wav, 0.4)
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    data.wav["u03"] = str(tmp_path / "bad.wav")
    data.write()
    summary = pretrain(tera(), **sections(train=str(data.path), updates=12), out=tmp_path / "run")
    assert summary["finished"] and summary["quarantined"] == 1
    assert (tmp_path / "run" / "quarantine.tsv").read_text().startswith("u03\t")
    assert [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()] == [
        2,
        4,
        6,
        8,
        10,
        12,
    ]


def test_stored_features_must_be_the_encoders_own(tera: Callable[[], TERA]) -> None:
    from sigssl.config import describe
    from sigssl.data.store import StoreInfo

    encoder = tera().encoder
    made = describe(encoder.features)
    check_store(StoreInfo("features", 20, 0.01, 16000, "x", {"features": made, "reading": {}}), encoder, "exp/feats")
    check_store(StoreInfo("features", 20, 0.01, 16000), encoder, "exp/feats")
    other = {**made, "init_args": {**made["init_args"], "cmvn": None}}
    with pytest.raises(UserError, match=r"config\.features\.init_args\.cmvn: None in exp/feats, 'utterance' in the encoder's"):
        check_store(StoreInfo("features", 20, 0.01, 16000, "", {"features": other}), encoder, "exp/feats")
    with pytest.raises(UserError, match="dim: 30"):
        check_store(StoreInfo("features", 30, 0.01, 16000), encoder, "exp/feats")
