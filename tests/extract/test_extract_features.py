"""Features to disk: what is stored, how it is normalised, and that neither batches, workers nor streaming change it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import kaldi_native_io
import numpy as np
import pytest
import torch

from sigssl.cli.common import instantiate, parse
from sigssl.cli.main import main
from sigssl.cli.pretrain import parser
from sigssl.config import build, describe
from sigssl.data import audio
from sigssl.data.datadir import DataDir
from sigssl.data.matrix import read_matrix
from sigssl.data.store import StoreInfo
from sigssl.errors import UserError
from sigssl.extract.features import extract_features
from sigssl.extract.parallel import Running
from sigssl.extract.reading import Reading
from sigssl.extract.sources import find_utterances
from sigssl.features import Extractor, KaldiFbank, LogMel
from sigssl.methods import FrameEncoder
from sigssl.nn import TransformerEncoder
from sigssl.training.datamodule import check_store

CONFIG = """
features:
  class_path: sigssl.features.LogMel
  init_args: {n_mels: 20, cmvn: null}
"""
CONFIGS = Path(__file__).resolve().parents[2] / "recipes" / "conf" / "features"
ENCODER = "method.init_args.encoder.init_args"
Contents = Callable[[Path], dict[str, bytes]]


def stored(folder: Path) -> dict[str, np.ndarray]:
    """Read back by Kaldi's own reader."""
    with kaldi_native_io.SequentialFloatMatrixReader(f"scp:{folder}/feats.scp") as reader:
        return {id: np.array(matrix) for id, matrix in reader}


def alone(data: Path, extractor: Extractor) -> dict[str, np.ndarray]:
    """Each utterance computed for itself."""
    made = {}
    for utterance in find_utterances(data):
        signal = torch.from_numpy(audio.read(utterance.path))
        made[utterance.id] = extractor(signal, torch.tensor([signal.shape[1]]))[0][0].numpy()
    return made


def test_what_is_stored_is_what_each_recording_gives_alone(corpus: Callable[..., Path], tmp_path: Path) -> None:
    summary = extract_features(find_utterances(corpus(120)), LogMel(), tmp_path)
    assert (summary.good, summary.bad) == (120, [])
    wanted, found = alone(corpus(120), LogMel()), stored(tmp_path)
    assert list(found) == sorted(wanted)
    for id, matrix in wanted.items():
        np.testing.assert_allclose(found[id], matrix, atol=2e-4)
    info = StoreInfo.read(tmp_path)
    assert (info.kind, info.dim, info.frame_shift, info.sample_rate) == ("features", 80, 0.01, 16000)
    assert info.config["features"]["init_args"]["cmvn"] == "utterance"
    frames = dict(line.split() for line in (tmp_path / "utt2num_frames").read_text().splitlines())
    assert {id: int(n) for id, n in frames.items()} == {id: len(matrix) for id, matrix in wanted.items()}


def test_long_recordings_pass_through_in_pieces(corpus: Callable[..., Path], tmp_path: Path) -> None:
    for long, name in ((120.0, "whole"), (0.5, "streamed")):
        extract_features(find_utterances(corpus()), LogMel(), tmp_path / name, reading=Reading(16000, long=long))
    whole, streamed = stored(tmp_path / "whole"), stored(tmp_path / "streamed")
    assert list(whole) == list(streamed)
    for id, matrix in whole.items():
        np.testing.assert_allclose(streamed[id], matrix, atol=1e-4)


def test_compressed(corpus: Callable[..., Path], tmp_path: Path) -> None:
    extract_features(find_utterances(corpus()), KaldiFbank(), tmp_path, compress=True)
    for id, matrix in stored(tmp_path).items():
        np.testing.assert_allclose(matrix, alone(corpus(), KaldiFbank())[id], atol=0.3)
        break
    assert (tmp_path / "feats.1.ark").read_bytes()[:20].find(b"\0BCM") > 0


def test_workers_make_the_same_bytes(corpus: Callable[..., Path], tmp_path: Path, contents: Contents) -> None:
    (tmp_path / "logmel.yaml").write_text(CONFIG)
    words = ["features", "--config", str(tmp_path / "logmel.yaml"), str(corpus()), "--quiet"]
    assert main([*words, str(tmp_path / "one"), "--nj", "1"]) == 0
    assert main([*words, str(tmp_path / "two"), "--nj", "2"]) == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_dask_cluster_makes_the_same_bytes(
    corpus: Callable[..., Path], tmp_path: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    inproc = pytest.importorskip("distributed.comm.inproc")
    monkeypatch.setattr(inproc, "get_ip", lambda: "127.0.0.1")  # it would ask which of its addresses reaches the Internet
    extractor = LogMel(n_mels=20)
    extract_features(find_utterances(corpus()), extractor, tmp_path / "here")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
        running = Running(dask=cluster.scheduler_address)
        extract_features(find_utterances(corpus()), extractor, tmp_path / "there", running=running)
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


@pytest.mark.parametrize("over", ["speaker", "global"])
def test_normalisation_over_speakers_and_over_all(corpus: Callable[..., Path], tmp_path: Path, over: str) -> None:
    extract_features(find_utterances(corpus()), LogMel(n_mels=20), tmp_path, cmvn_over=over)
    raw, found = alone(corpus(), LogMel(n_mels=20, cmvn=None)), stored(tmp_path)
    for group in ("spk0", "spk1") if over == "speaker" else ("spk",):
        x = np.concatenate([matrix for id, matrix in raw.items() if id.startswith(group)]).astype(np.float64)
        for id in (id for id in raw if id.startswith(group)):
            np.testing.assert_allclose(found[id], (raw[id] - x.mean(0)) / x.std(0), atol=1e-3)
    with kaldi_native_io.SequentialDoubleMatrixReader(f"scp:{tmp_path}/cmvn.scp") as reader:
        stats = {group: np.array(matrix) for group, matrix in reader}
    assert sum(matrix[0, -1] for matrix in stats.values()) == sum(map(len, raw.values()))
    before = (tmp_path / "feats.1.ark").stat().st_mtime_ns
    assert extract_features(find_utterances(corpus()), LogMel(n_mels=20), tmp_path, cmvn_over=over).good == 30
    assert (tmp_path / "feats.1.ark").stat().st_mtime_ns == before


def test_statistics_of_the_training_part_serve_the_test_part(corpus: Callable[..., Path], tmp_path: Path) -> None:
    utterances, extractor = find_utterances(corpus()), LogMel(n_mels=20)
    extract_features(utterances, extractor, tmp_path / "train", cmvn_over="global")
    extract_features(utterances[:3], extractor, tmp_path / "test", cmvn_over="global", cmvn_from=tmp_path / "train")
    train, test = stored(tmp_path / "train"), stored(tmp_path / "test")
    for id, matrix in test.items():
        np.testing.assert_allclose(matrix, train[id], atol=1e-4)
    with pytest.raises(UserError, match="no such file; --cmvn-from expects"):
        extract_features(utterances, extractor, tmp_path / "x", cmvn_over="global", cmvn_from=tmp_path)
    with pytest.raises(UserError, match="--cmvn speaker or global"):
        extract_features(utterances, extractor, tmp_path / "x", cmvn_from=tmp_path)


def test_an_encoder_makes_the_globally_normalised_frames_of_a_store(corpus: Callable[..., Path], tmp_path: Path) -> None:
    extract_features(find_utterances(corpus()), LogMel(n_mels=20), tmp_path, cmvn_over="global")
    info = StoreInfo.read(tmp_path)
    extractor = build(info.config["features"])
    for id, matrix in alone(corpus(), extractor).items():
        np.testing.assert_allclose(stored(tmp_path)[id], matrix, atol=1e-3)
    words = ["--config", str(CONFIGS.parent / "tera" / "small.yaml"), "--out", "exp/tera", "data.train=data/train"]
    cmvn = f"{ENCODER}.features.init_args.cmvn={tmp_path}/cmvn.yaml"
    parsed = parse(parser(), [*words, f"{ENCODER}.features.init_args.n_mels=20", f"{ENCODER}.body.init_args.input_dim=20", cmvn])
    assert describe(instantiate(parser(), parsed).method.encoder.features) == info.config["features"]
    encoder = FrameEncoder(extractor, TransformerEncoder(20, dim=8, layers=1, heads=1, ffn=8))
    check_store(info, encoder, "exp/feats")
    plain = FrameEncoder(LogMel(n_mels=20, cmvn=None), encoder.body)
    with pytest.raises(UserError, match=r"cmvn\.class_path: 'sigssl.features.GlobalCMVN' in exp/feats"):
        check_store(info, plain, "exp/feats")
    extract_features(find_utterances(corpus()), LogMel(n_mels=20), tmp_path / "speaker", cmvn_over="speaker")
    with pytest.raises(UserError, match="normalised by the statistics of each speaker"):
        check_store(StoreInfo.read(tmp_path / "speaker"), plain, "exp/feats")


def test_the_data_directory_is_copied_with_its_features(corpus: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "logmel.yaml").write_text(CONFIG)
    out = tmp_path / "feats"
    words = ["features", "--config", str(tmp_path / "logmel.yaml"), str(corpus()), str(out), "--data-out", str(tmp_path / "data")]
    assert main([*words, "--nj", "1", "--quiet", "features.n_mels=12"]) == 0
    data = DataDir.read(tmp_path / "data")
    assert set(data.feats) == set(data.wav) == set(data.carried["utt2num_frames"])
    assert read_matrix(next(iter(data.feats.values()))).shape[1] == 12


@pytest.mark.parametrize(
    ("config", "word", "message"),
    [
        (CONFIG, "features.n_mel=3", "n_mels"),
        (CONFIG, "features.n_mels=many", "n_mels"),
        ("other: 1", "", "'other' is not accepted"),
        (CONFIG.replace("LogMel", "LogMal"), "", "LogMal"),
    ],
)
def test_wrong_configurations_are_named(
    corpus: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], config: str, word: str, message: str
) -> None:
    (tmp_path / "c.yaml").write_text(config)
    words = ["features", "--config", str(tmp_path / "c.yaml"), str(corpus()), str(tmp_path / "out"), "--nj", "1", word]
    assert main([w for w in words if w]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_commands_run_only_where_allowed(tmp_path: Path, corpus: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    wav = next((corpus() / "wav").iterdir())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "wav.scp").write_text(f"a head -c 1000000 {wav} |\nb {wav}\n")
    (tmp_path / "c.yaml").write_text(CONFIG)
    words = ["features", "--config", str(tmp_path / "c.yaml"), str(tmp_path / "data"), str(tmp_path / "out"), "--nj=1", "--quiet"]
    assert main(words) == 2
    assert "--allow-commands" in capsys.readouterr().err
    assert main([*words, "--allow-commands", "--data-out", str(tmp_path / "copy")]) == 0
    a, b = stored(tmp_path / "out").values()
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != "eeg"))
def test_shipped_configurations_are_read(corpus: Callable[..., Path], tmp_path: Path, name: str) -> None:
    words = ["features", "--config", str(CONFIGS / f"{name}.yaml"), str(next((corpus() / "wav").iterdir())), str(tmp_path / "out")]
    assert main([*words, "--nj=1", "--quiet"]) == 0
    assert StoreInfo.read(tmp_path / "out").dim == {"logmel": 80, "fbank": 80, "mfcc": 39}[name]
