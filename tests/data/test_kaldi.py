"""Archives and data directories that Kaldi, kaldi_native_io and lhotse write, and ours as they read them."""

from __future__ import annotations

from pathlib import Path

import kaldi_native_io
import numpy as np
import pytest
import soundfile

from sigssl.cli.main import main
from sigssl.data import audio
from sigssl.data.ark import StoreInfo, read_matrix, read_scp
from sigssl.data.datadir import DataDir
from sigssl.data.dataset import Crop, FrameDataset
from sigssl.data.validate import validate

RATE = 8000
WAYS = ["AutomaticMethod", "SpeechFeature", "TwoByteAuto", "TwoByteSignedInteger", "OneByteAuto", "OneByteUnsignedInteger"]


@pytest.fixture
def kaldi(tmp_path: Path) -> Path:
    """A directory as Kaldi's scripts leave it: decoder commands, segments with a channel, relative arks beside it, all tables."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "data"
    (folder / "data").mkdir(parents=True)
    soundfile.write(tmp_path / "call.flac", rng.normal(0, 0.1, RATE * 3), RATE)
    files = {
        "wav.scp": f"call flac -c -d -s {tmp_path}/call.flac |\n",
        "segments": "ann-1 call 0.5 1.25\nann-2 call 1.25 -1\n",
        "utt2spk": "ann-1 ann\nann-2 ann\n",
        "spk2utt": "ann ann-1 ann-2\n",
        "text": "ann-1 HELLO WORLD\nann-2\n",
        "utt2num_frames": "ann-1 73\nann-2 173\n",
        "utt2dur": "ann-1 0.75\nann-2 1.75\n",
        "reco2dur": "call 3\n",
        "reco2file_and_channel": "call call A\n",
        "spk2gender": "ann f\n",
        "utt2lang": "ann-1 en\nann-2 en\n",
    }
    for name, content in files.items():
        (folder / name).write_text(content)
    spec = f"ark,scp:{folder}/data/raw_mfcc.1.ark,{folder}/feats.scp"
    with kaldi_native_io.CompressedMatrixWriter(spec) as writer:
        for id, rows in (("ann-1", 73), ("ann-2", 173)):
            writer.write(id, rng.normal(size=(rows, 13)).astype(np.float32), kaldi_native_io.CompressionMethod.kAutomaticMethod)
    (folder / "feats.scp").write_text((folder / "feats.scp").read_text().replace(f"{folder}/", ""))
    return folder


@pytest.mark.parametrize("way", WAYS)
def test_every_compression_is_read(tmp_path: Path, way: str) -> None:
    m = np.abs(np.random.default_rng(1).normal(size=(90, 6))).astype(np.float32) * (30 if "Integer" in way else 1)
    spec = f"ark,scp:{tmp_path}/k.ark,{tmp_path}/k.scp"
    with kaldi_native_io.CompressedMatrixWriter(spec) as writer:
        writer.write("u", m, getattr(kaldi_native_io.CompressionMethod, f"k{way}"))
    place = read_scp(tmp_path / "k.scp")["u"]
    expected = np.array(kaldi_native_io.FloatMatrix.read(place).numpy())
    assert np.array_equal(read_matrix(place), expected) and np.abs(expected - m).max() < 1.0
    assert np.array_equal(read_matrix(f"{place}[10:19]"), expected[10:20])


def test_text_archives_of_several(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    made = {id: rng.normal(size=(rows, 3)).astype(np.float32) for id, rows in (("a", 1), ("b", 40))}
    with kaldi_native_io.FloatMatrixWriter(f"ark,t,scp:{tmp_path}/t.ark,{tmp_path}/t.scp") as writer:
        for id, m in made.items():
            writer.write(id, m)
    for id, place in read_scp(tmp_path / "t.scp").items():
        assert np.allclose(read_matrix(place), made[id], rtol=1e-4)


def test_a_directory_of_kaldi_is_read_trained_on_and_written_again(kaldi: Path, tmp_path: Path) -> None:
    assert not [one for one in validate(kaldi).findings if one.level == "error"]
    data = DataDir.read(kaldi)
    assert data.text == {"ann-1": "HELLO WORLD", "ann-2": ""}
    first = data.utterances()[0]
    assert audio.read(first.path, first.start, first.end).shape == (1, 6000)
    expected = np.array(kaldi_native_io.FloatMatrix.read(data.rxfile("ann-1")).numpy())
    assert expected.shape == (73, 13) and np.array_equal(read_matrix(data.rxfile("ann-1")), expected)
    StoreInfo("features", 13, 0.01, RATE).write(kaldi)  # what Kaldi does not say
    frames = FrameDataset(data, kaldi, Crop())
    assert torch_equal(frames, "ann-1", expected)
    before = {file.name: file.read_text() for file in kaldi.iterdir() if file.is_file() and file.suffix != ".json"}
    data.write(tmp_path / "again")
    again = {file.name: file.read_text() for file in (tmp_path / "again").iterdir()}
    moved = {"feats.scp": before["feats.scp"].replace(" data/", f" {kaldi}/data/"), "segments": before["segments"]}
    assert again == before | moved


def torch_equal(frames: FrameDataset, id: str, expected: np.ndarray) -> bool:
    item = next(k for k in range(len(frames)) if frames.piece(k).id == id)
    return np.array_equal(frames.read(frames.piece(item), 0).numpy(), expected)


def test_lhotse_reads_our_compressed_store_and_the_directory(kaldi: Path, tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse", reason="lhotse is not installed")
    (kaldi / "text").write_text("ann-1 HELLO WORLD\nann-2 AGAIN\n")
    words = ["--config", "recipes/conf/features/fbank.yaml", f"features.sample_rate={RATE}", "--compress", "--quiet", "--nj", "1"]
    assert main(["features", *words, str(kaldi), str(tmp_path / "feats"), "--data-out", str(tmp_path / "ours")]) == 0
    store = read_scp(tmp_path / "feats" / "feats.scp")
    (tmp_path / "ours" / "wav.scp").write_text(f"call {tmp_path}/call.flac\n")
    recordings, supervisions, features = lhotse.kaldi.load_kaldi_data_dir(tmp_path / "ours", RATE, frame_shift=0.01)
    assert {s.id: (s.text, s.speaker, s.gender, s.language) for s in supervisions} == {
        "ann-1": ("HELLO WORLD", "ann", "f", "en"),
        "ann-2": ("AGAIN", "ann", "f", "en"),
    }
    assert [recording.num_samples for recording in recordings] == [3 * RATE]
    by_start = {round(f.start, 2): f for f in features}
    for id, start in (("ann-1", 0.5), ("ann-2", 1.25)):
        assert np.array_equal(by_start[start].load(), read_matrix(store[id]))
