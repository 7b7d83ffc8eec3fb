"""The feature store against kaldi_native_io, slices, kills in the middle, and what feats.json refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import kaldi_native_io
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigssl.data.ark import ArkWriter, StoreInfo, merge, read_matrix, read_rows, read_scp, recover, shape
from sigssl.errors import UserError


def matrix(rows: int, columns: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + rows).standard_normal((rows, columns)).astype(np.float32)


def fill(folder: Path, ids: list[str], part: int | None = None, compress: bool = False) -> None:
    with ArkWriter(folder, part=part, compress=compress) as writer:
        for id in ids:
            writer.write(id, matrix(10 + len(writer.done)))


def test_kaldi_reads_what_we_write(tmp_path: Path) -> None:
    fill(tmp_path, ["a", "b", "ü"])
    with kaldi_native_io.SequentialFloatMatrixReader(f"scp:{tmp_path}/feats.scp") as reader:
        seen = {key: np.array(m) for key, m in reader}
    assert {key: len(m) for key, m in seen.items()} == {"a": 10, "b": 11, "ü": 12}
    assert np.array_equal(seen["b"], matrix(11))
    in_order = [key for key, _ in kaldi_native_io.SequentialFloatMatrixReader(f"ark:{tmp_path}/feats.ark")]
    assert in_order == ["a", "b", "ü"]


def test_we_read_what_kaldi_writes(tmp_path: Path) -> None:
    m = matrix(20)
    for kind, spec in (("Float", "ark"), ("Float", "ark,t"), ("Double", "ark")):
        with getattr(kaldi_native_io, f"{kind}MatrixWriter")(f"{spec},scp:{tmp_path}/k.ark,{tmp_path}/k.scp") as writer:
            writer.write("u", m.astype(np.float64) if kind == "Double" else m)
        place = read_scp(tmp_path / "k.scp")["u"]
        assert np.allclose(read_matrix(place), m, atol=1e-5) and shape(place) == (20, 3)
        assert np.allclose(read_rows(place, 4, 9), m[4:9], atol=1e-5)
        assert np.allclose(read_matrix(f"{place}[2:5]"), m[2:6], atol=1e-5)  # both ends included
        assert np.allclose(read_matrix(f"{place}[2:5,0:1]"), m[2:6, :2], atol=1e-5)
        assert shape(f"{place}[2:5,0:1]") == (4, 2)


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 5), st.data())
def test_rows_are_slices(tmp_path_factory: pytest.TempPathFactory, rows: int, columns: int, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("store")
    m = matrix(rows, columns)
    with ArkWriter(folder) as writer:
        writer.write("first", matrix(7, 2))
        writer.write("u", m)
    place = read_scp(folder / "feats.scp")["u"]
    start = data.draw(st.integers(0, rows))
    stop = data.draw(st.integers(start, rows))
    made = read_rows(place, start, stop)
    assert np.array_equal(made, m[start:stop]) and made.flags.writeable and made.flags.aligned
    assert np.array_equal(read_rows(place, start, None), m[start:])
    with pytest.raises(UserError, match=f"rows 0 to {rows + 1} asked for, {rows} are there"):
        read_rows(place, 0, rows + 1)


def test_a_slice_reads_nothing_else(tmp_path: Path) -> None:
    with ArkWriter(tmp_path) as writer:
        writer.write("night", matrix(1000, 4))
    place = read_scp(tmp_path / "feats.scp")["night"]
    os.truncate(tmp_path / "feats.ark", (tmp_path / "feats.ark").stat().st_size - 4)  # its last row is not whole any more
    assert np.array_equal(read_rows(place, 0, 999), matrix(1000, 4)[:999])
    with pytest.raises(UserError, match="truncated: 1000 x 4 numbers declared"):
        read_matrix(place)


def test_compressed(tmp_path: Path) -> None:
    with ArkWriter(tmp_path, compress=True) as writer:
        for rows in (3, 500):
            writer.write(f"u{rows}", matrix(rows, 40))
    assert not list(tmp_path.glob(".*"))
    for id, place in read_scp(tmp_path / "feats.scp").items():
        rows = int(id[1:])
        assert shape(place) == (rows, 40)
        assert np.array_equal(read_matrix(place), kaldi_native_io.FloatMatrix.read(place).numpy())
        assert np.abs(read_matrix(place) - matrix(rows, 40)).max() < 0.05
        assert read_rows(place, 1, 3).shape == (2, 40)
    assert (tmp_path / "feats.ark").stat().st_size < 1.2 * 503 * 40 + 1000


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with ArkWriter(tmp_path) as writer:
        writer.write("a", matrix(3))
        with pytest.raises(UserError, match="'a' is in the store already"):
            writer.write("a", matrix(3))
        with pytest.raises(UserError, match="'b c' is empty or holds a space"):
            writer.write("b c", matrix(3))
        with pytest.raises(UserError, match="'d' has no frames"):
            writer.write("d", np.zeros((0, 3), np.float32))


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("lost", range(1, 90, 7))
def test_any_cut_is_mended_and_the_rerun_is_equal(tmp_path: Path, compress: bool, lost: int) -> None:
    ids = ["a", "b", "c", "d"]
    fill(tmp_path / "calm", ids, compress=compress)
    hurt = tmp_path / "hurt"
    fill(hurt, ids[:3], compress=compress)
    ark, scp = hurt / "feats.ark", hurt / "feats.scp"
    with ark.open("ab") as file:
        file.write(b"d \0BFM \4")  # a matrix begun ...
    with scp.open("ab") as file:
        file.write(b"d /so")  # ... and half a line
    if lost > 50:  # a power cut: the end of the ark never reached the disk
        os.truncate(ark, ark.stat().st_size - lost)
    assert recover(hurt) >= {"a", "b"}
    fill(hurt, [id for id in ids if id not in recover(hurt)], compress=compress)
    assert ark.read_bytes() == (tmp_path / "calm/feats.ark").read_bytes()
    assert scp.read_text() == (tmp_path / "calm/feats.scp").read_text().replace("calm", "hurt")


def test_kill_in_the_middle(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from sigssl.data.ark import ArkWriter; writer = ArkWriter(sys.argv[1])\n"
        "for i in range(10**6): writer.write(f'u{i:06d}', np.full((50, 40), i, np.float32)); i == 200 and print('go', flush=True)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "go\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    before = (tmp_path / "feats.scp").read_text().splitlines()
    done = recover(tmp_path)
    assert len(done) >= 201 and abs(len(done) - len(before)) <= 1
    places = read_scp(tmp_path / "feats.scp")
    assert places.keys() == done
    for id, place in list(places.items())[-20:]:
        assert (read_matrix(place) == int(id[1:])).all()
    assert len(list(kaldi_native_io.SequentialFloatMatrixReader(f"ark:{tmp_path}/feats.ark"))) == len(done)


def test_jobs_are_joined_and_the_folder_may_move(tmp_path: Path) -> None:
    fill(tmp_path / "s", ["c", "a"], part=1)
    fill(tmp_path / "s", ["b"], part=2)
    fill(tmp_path / "s", ["d"], part=1)  # resumed
    joined = merge(tmp_path / "s")
    assert (tmp_path / "s/feats.scp").read_text().split()[::2] == ["a", "b", "c", "d"]
    assert merge(tmp_path / "s") == joined and recover(tmp_path / "s") == set("abcd")
    with pytest.raises(UserError, match="joins the arks of several jobs"):
        ArkWriter(tmp_path / "s")
    (tmp_path / "s").rename(tmp_path / "t")
    assert {len(read_matrix(place)) for place in read_scp(tmp_path / "t/feats.scp").values()} == {10, 11, 12}
    fill(tmp_path / "t", ["b"], part=3)
    with pytest.raises(UserError, match=r"feats.3.scp:1: id 'b' is also in"):
        merge(tmp_path / "t")


def test_places_that_are_not_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, ["a"])
    for place, message in (
        ("/gone/feats.ark:5", "/gone/feats.ark: cannot be opened: No such file"),
        (f"{tmp_path}/feats.ark:9", "no matrix can be read there"),
        (f"{tmp_path}/feats.ark:2[0:30]", "the matrix has 10 rows"),
        ("touch /tmp/x |", "is a command"),
    ):
        with pytest.raises(UserError, match=message):
            read_matrix(place)
    assert len(read_matrix(f"{tmp_path}/feats.ark:2[0:11]")) == 10  # Kaldi's tolerance
    capfd.readouterr()  # Kaldi's own complaint


def test_info_round_trip_and_check(tmp_path: Path) -> None:
    config = {"class_path": "sigssl.features.LogMel", "init_args": {"mels": 80, "bands": [0, 8000]}}
    info = StoreInfo(kind="features", dim=80, frame_shift=0.01, sample_rate=16000, unit="ln power", config=config)
    info.write(tmp_path)
    again = StoreInfo.read(tmp_path)
    assert again == info
    again.check(info)
    other = {"class_path": "sigssl.features.LogMel", "init_args": {"mels": 40, "bands": [0, 8000], "dither": 1}}
    needed = StoreInfo(kind="features", dim=40, frame_shift=0.01, sample_rate=16000, unit="ln power", config=other)
    with pytest.raises(UserError) as error:
        info.check(needed, "exp/feats", "the model")
    text = str(error.value)
    assert "exp/feats and the model were not made alike" in text
    assert "config.init_args.mels: 80 in exp/feats, 40 in the model" in text
    assert "config.init_args.dither: 'absent' in exp/feats, 1 in the model" in text
    assert "dim: 80" in text and "bands" not in text and "sample_rate" not in text
    long = StoreInfo(kind="features", dim=80, frame_shift=0.01, sample_rate=16000, config={"mean": [0.5] * 80})
    with pytest.raises(UserError, match=r"\.\.\. and 73 more"):
        info.check(long)


def test_info_from_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"feats.json: no such file, so it is not known how"):
        StoreInfo.read(tmp_path)
    (tmp_path / "feats.json").write_text('{"kind": "features", "dim": 3, "frameshift": 1}')
    with pytest.raises(UserError, match=r"unknown key 'frameshift'. Did you mean 'frame_shift'"):
        StoreInfo.read(tmp_path)
    (tmp_path / "feats.json").write_text('{"kind": "features", "dim": 3}')
    with pytest.raises(UserError, match="lacks frame_shift, sample_rate"):
        StoreInfo.read(tmp_path)
