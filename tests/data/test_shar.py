"""lhotse Shar read in place, beside lhotse's own reader; what is wrong with a copy is named."""

from __future__ import annotations

import gzip
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sigssl.cli.main import main
from sigssl.data import audio
from sigssl.data.datadir import DataDir, is_data_dir
from sigssl.data.shar import read_shar
from sigssl.data.tar import locate, place_of, tar_of
from sigssl.data.validate import validate
from sigssl.errors import UserError

lhotse = pytest.importorskip("lhotse", reason="lhotse is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # lhotse leaves its tars open


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Seven cuts of 16-bit noise, ids in no order; one with an id that looks like a path and has a dot."""
    folder = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(0)
    cuts = []
    for k, id in enumerate(["d", "b", "f/x.y", "a", "c", "e", "g"]):
        file = folder / f"{k}.wav"
        soundfile.write(file, rng.normal(0, 0.1, 8000 + 100 * k), 8000, subtype="PCM_16")
        recording = lhotse.Recording.from_file(file)
        said = lhotse.SupervisionSegment(f"s{k}", recording.id, 0, 1.0, text=f"word {k}", speaker=f"spk{k % 2}")
        cuts.append(lhotse.MonoCut(id, 0.25, 0.5, 0, [said], recording=recording, custom={"label": f"l{k}"}))
    return lhotse.CutSet.from_cuts(cuts)


@pytest.fixture(scope="module")
def shar(made: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cuts in three shards."""
    folder = tmp_path_factory.mktemp("shar")
    made.to_shar(folder, fields={"recording": "flac"}, shard_size=3)
    return folder


@pytest.fixture
def copy(shar: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shar, tmp_path / "copy"))


def test_it_is_what_lhotse_reads(shar: Path) -> None:
    data = DataDir.read(f"shar:{shar}")
    assert is_data_dir(f"shar:{shar}") and is_data_dir(shar) and DataDir.read(shar).wav == data.wav
    cuts = list(lhotse.CutSet.from_shar(in_dir=shar))
    assert list(data.wav) == [cut.id for cut in cuts] and len(data) == 7
    for cut in cuts:
        assert np.array_equal(audio.read(data.wav[cut.id]), cut.load_audio())
        assert data.utt2dur[cut.id] == cut.duration == audio.info(data.wav[cut.id]).duration
        assert data.text[cut.id] == cut.supervisions[0].text and data.utt2spk[cut.id] == cut.supervisions[0].speaker
        assert data.utt2label[cut.id] == cut.custom["label"]
    assert np.array_equal(audio.read(data.wav["b"], 0.1, 0.3), cuts[1].load_audio()[:, 800:2400])
    joined = np.concatenate(list(audio.blocks(data.wav["b"], 0.07)), axis=1)
    assert np.array_equal(joined, cuts[1].load_audio())


def test_other_formats(made: Any, tmp_path: Path) -> None:
    for kind in ("wav", "mp3"):  # mp3 says its length by its end, which the tar goes on behind
        (tmp_path / kind).mkdir()
        made.to_shar(tmp_path / kind, fields={"recording": kind}, shard_size=4)
        data = read_shar(tmp_path / kind)
        for cut in lhotse.CutSet.from_shar(in_dir=tmp_path / kind):
            assert audio.read(data.wav[cut.id]).shape[1] == pytest.approx(4000, abs=2400 if kind == "mp3" else 0)
            if kind == "wav":
                assert np.allclose(audio.read(data.wav[cut.id]), cut.load_audio(), atol=1e-6)


def test_places_stay_in_a_data_directory(shar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lhotse", "from", str(shar), str(tmp_path / "data")]) == 0
    assert "audio stays in" in capsys.readouterr().out
    data = DataDir.read(tmp_path / "data")
    assert data.wav == read_shar(shar).wav
    report = validate(tmp_path / "data")
    assert not [one for one in report.findings if one.level == "error"], report.findings


def test_nothing_but_what_is_asked_for_is_read(copy: Path) -> None:
    data = read_shar(copy)
    tar = tar_of(data.wav["b"])
    bytes_ = bytearray(Path(tar).read_bytes())
    for id in ("d", "f/x.y"):  # its neighbours in the tar become rubbish
        _, other = locate(data.wav[id])
        bytes_[other.offset : other.offset + other.size] = b"\xff" * other.size
    Path(tar).write_bytes(bytes_)
    assert audio.read(data.wav["b"]).shape == (1, 4000)
    with pytest.raises(UserError, match="cannot be read as audio"):
        audio.read(data.wav["d"])


def test_what_is_wrong_with_a_copy_is_named(copy: Path, tmp_path: Path) -> None:
    data = read_shar(copy)
    tar = copy / "recording.000001.tar"
    assert tar_of(data.wav["c"]) == str(tar)
    whole = tar.read_bytes()
    tar.write_bytes(whole[: locate(data.wav["e"])[1].offset + 100])
    with pytest.raises(UserError, match="truncated within 'e'"):
        audio.read(data.wav["e"])
    with pytest.raises(UserError, match=r"'c'.*manifest says 'x'"):
        audio.read(place_of(str(tar), 1, "x"))
    with pytest.raises(UserError, match="ends after"):
        audio.read(place_of(str(tar), 7, "x"))
    tar.write_bytes(gzip.compress(whole))
    with pytest.raises(UserError, match="no uncompressed tar"):
        audio.read(data.wav["c"])
    tar.unlink()
    with pytest.raises(UserError, match="cannot be opened"):
        audio.read(data.wav["c"])
    with pytest.raises(UserError, match=r"recording.000001.tar: is missing"):
        read_shar(copy)
    manifest = copy / "cuts.000000.jsonl.gz"
    manifest.write_bytes(manifest.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"cuts.000000.jsonl.gz:\d: cannot be read"):
        read_shar(copy)
    with pytest.raises(UserError, match="no folder of lhotse Shar"):
        DataDir.read(f"shar:{tmp_path}/nowhere")


def test_cuts_without_audio_or_mixed_or_twice(copy: Path) -> None:
    data = read_shar(copy)
    tar = copy / "recording.000002.tar"
    with tarfile.open(tar, "w") as file:
        for name in ("g.nodata", "g.nometa"):
            file.addfile(tarfile.TarInfo(name))
    with pytest.raises(UserError, match="'g' has no audio"):
        audio.read(data.wav["g"])
    lines = gzip.decompress((copy / "cuts.000002.jsonl.gz").read_bytes()).decode()
    for change, message in (
        (("MonoCut", "MixedCut"), "is a MixedCut"),
        (('"g"', '"a"'), "comes twice"),
        (('"g"', '"g h"'), "space"),
    ):
        with gzip.open(copy / "cuts.000002.jsonl.gz", "wt") as file:
            file.write(lines.replace(*change))
        with pytest.raises(UserError, match=message):
            read_shar(copy)
