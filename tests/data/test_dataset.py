"""Datasets: crops that depend on nothing but (seed, epoch, id), chunks that cover, stand-ins for what cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from sigssl.data import audio
from sigssl.data.ark import ArkWriter, merge
from sigssl.data.batching import Planned, Position
from sigssl.data.datadir import DataDir, Segment
from sigssl.data.dataset import Crop, FrameDataset, Loaded, SignalDataset
from sigssl.data.store import StoreInfo
from sigssl.errors import UserError

SECONDS = [0.5, 0.7, 0.9, 1.1, 1.3, 2.9]


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    rng = np.random.default_rng(0)
    wav = {}
    for i, seconds in enumerate(SECONDS):
        path = tmp_path / f"u{i}.flac"
        soundfile.write(path, 0.1 * rng.standard_normal(round(seconds * 8000)), 8000)
        wav[f"u{i}"] = str(path)
    return DataDir(tmp_path, wav=wav, utt2spk=dict.fromkeys(wav, "s"))


def load(dataset: SignalDataset | FrameDataset, items: list[int], epoch: int = 0) -> Loaded:
    return dataset[Planned(Position(epoch, 0), tuple(items))]


def test_whole_signals_padded_with_zeros(data: DataDir) -> None:
    dataset = SignalDataset(data, 8000, Crop())
    assert dataset.durations.tolist() == pytest.approx(SECONDS)
    loaded = load(dataset, [2, 0])
    assert loaded.batch.ids == ("u2", "u0") and loaded.batch.lengths.tolist() == [7200, 4000] and loaded.failed == ()
    assert loaded.seconds == pytest.approx(1.4) and loaded.batch.x.shape == (2, 1, 7200)
    assert np.array_equal(loaded.batch.x[1, :, :4000], audio.read(data.wav["u0"])) and not loaded.batch.x[1, :, 4000:].any()


def test_crops_follow_from_seed_epoch_and_id(data: DataDir) -> None:
    crop = Crop(crop_seconds=1.0, seed=5)
    one, two = SignalDataset(data, 16000, crop), SignalDataset(data.subset(["u3", "u5"]), 16000, crop)
    assert one.durations.max() == 1.0
    a, b = load(one, [5, 0, 3], 4).batch, load(two, [1, 0], 4).batch
    assert a.lengths.tolist() == [16000, 8000, 16000]
    assert torch.equal(a.x[0], b.x[0]) and torch.equal(a.x[2], b.x[1])
    assert not torch.equal(a.x[0], load(one, [5], 3).batch.x[0])
    places = [crop.place(epoch, "u5") for epoch in range(2000)]
    assert min(places) >= 0 and max(places) < 1 and np.histogram(places, 10, (0, 1))[0].min() > 150


def test_chunks_cover_a_recording_once(data: DataDir) -> None:
    dataset = SignalDataset(data, 8000, Crop(chunk_seconds=1.0, min_seconds=0.6))
    ids = [dataset.piece(i).id for i in range(len(dataset))]
    assert ids == ["u1", "u2", "u3#0", "u3#1", "u4#0", "u4#1", "u5#0", "u5#1", "u5#2"]
    parts = [load(dataset, [i]).batch.x[0] for i in range(6, 9)]
    assert np.array_equal(torch.cat(parts, 1), audio.read(data.wav["u5"]))


def test_segments_and_declared_durations(data: DataDir) -> None:
    data.segments = {"a": Segment("u5", 0.5, 1.5), "b": Segment("u5", 2.0, -1.0)}
    data.utt2spk = {"a": "s", "b": "s"}
    loaded = load(SignalDataset(data, 8000, Crop()), [0, 1])
    assert loaded.batch.lengths.tolist() == [8000, 7200]
    assert np.array_equal(loaded.batch.x[0], audio.read(data.wav["u5"], 0.5, 1.5))


def test_unreadable_files_are_replaced_and_named(data: DataDir) -> None:
    data.utt2dur = {f"u{i}": seconds for i, seconds in enumerate(SECONDS)}
    broken = Path(data.wav["u2"])
    broken.write_bytes(broken.read_bytes()[:400])
    Path(data.wav["u5"]).unlink()
    loaded = load(SignalDataset(data, 8000, Crop()), [1, 2, 5])
    assert loaded.batch.ids == ("u1", "u3", "u4")
    assert [failure.id for failure in loaded.failed] == ["u2", "u5"]
    assert "no such file" in loaded.failed[1].reason and loaded.failed[0].path == data.wav["u2"]


def test_what_cannot_be_measured_is_left_out_and_a_hopeless_set_is_refused(data: DataDir) -> None:
    Path(data.wav["u5"]).unlink()
    dataset = SignalDataset(data, 8000, Crop())
    assert len(dataset) == 5 and [failure.id for failure in dataset.failed] == ["u5"]
    for path in data.wav.values():
        Path(path).unlink(missing_ok=True)
    with pytest.raises(UserError, match="5 utterances in a row cannot be read"):
        load(dataset, [0])


def test_channels_that_differ_are_refused(data: DataDir, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "u0.flac", np.zeros((4000, 2)), 8000)
    with pytest.raises(UserError, match=r"\[1, 2\] channels"):
        load(SignalDataset(data, 8000, Crop(), "all"), [0, 1])


def test_worker_processes_read_the_same(data: DataDir) -> None:
    dataset = SignalDataset(data, 8000, Crop(crop_seconds=0.8))
    order = [Planned(Position(1, step), (step, 5 - step)) for step in range(3)]
    loader = DataLoader(dataset, batch_size=None, sampler=order, num_workers=2, collate_fn=_same)
    for planned, loaded in zip(order, loader, strict=True):
        assert loaded.planned == planned and torch.equal(loaded.batch.x, dataset[planned].batch.x)


def _same(loaded: Loaded) -> Loaded:
    return loaded


@pytest.fixture
def store(data: DataDir, tmp_path: Path) -> Path:
    folder = tmp_path / "feats"
    rng = np.random.default_rng(1)
    with ArkWriter(folder) as writer:
        for i, seconds in enumerate(SECONDS):
            writer.write(f"u{i}", rng.standard_normal((round(seconds * 100), 3)).astype(np.float32))
    merge(folder)
    StoreInfo("features", 3, 0.01, 8000).write(folder)
    return folder


def test_stored_frames(data: DataDir, store: Path) -> None:
    dataset = FrameDataset(data, store, Crop())
    assert dataset.durations.tolist() == pytest.approx(SECONDS)
    loaded = load(dataset, [0, 5])
    assert loaded.batch.is_frames and loaded.batch.x.shape == (2, 290, 3) and loaded.batch.lengths.tolist() == [50, 290]
    assert loaded.seconds == pytest.approx(3.4)
    crop = load(FrameDataset(data, store, Crop(crop_seconds=0.6)), [5]).batch.x[0]
    windows = loaded.batch.x[1].unfold(0, 60, 1).transpose(1, 2)
    assert len(crop) == 60 and int((windows == crop).all(2).all(1).sum()) == 1
    parts = FrameDataset(data, store, Crop(chunk_seconds=1.0))
    assert torch.equal(torch.cat([load(parts, [i]).batch.x[0] for i in range(len(parts) - 3, len(parts))]), loaded.batch.x[1])


def test_a_store_that_lacks_something_is_refused(data: DataDir, store: Path) -> None:
    StoreInfo("embeddings", 3, None, 8000).write(store)
    with pytest.raises(UserError, match="holds no frames"):
        FrameDataset(data, store, Crop())
    StoreInfo("features", 3, 0.01, 8000).write(store)
    scp = store / "feats.scp"
    scp.write_text("".join(scp.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(UserError, match="lacks 1 of the 6 utterances"):
        FrameDataset(data, store, Crop())
