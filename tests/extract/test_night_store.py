"""Nights into a store: what is in it, what is told, what is set aside, and that a kill or more workers change nothing."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from edf_files import Edf, Signal, annotations, hypnogram_edf, noise, tal

from sigssl.cli.main import main
from sigssl.data.datadir import DataDir, Segment
from sigssl.data.matrix import read_matrix
from sigssl.data.psg import Montage, open_psg, read_signal, signal_blocks
from sigssl.data.store import StoreInfo
from sigssl.data.validate import validate

CONFIG = str(Path(__file__).resolve().parents[2] / "recipes" / "conf" / "features" / "eeg.yaml")


def night(path: Path, seed: int, seconds: int = 120, **fields: object) -> Path:
    signals = [Signal("EEG Fpz-Cz", noise(seconds, 100, seed), 100), Signal("EEG Pz-Oz", noise(seconds, 100, seed + 50), 100)]
    signals.append(Signal("EOG horizontal", noise(seconds, 50, seed + 70), 50))
    path.parent.mkdir(parents=True, exist_ok=True)
    return Edf(signals, **fields).write(path)  # type: ignore[arg-type]


@pytest.fixture
def nights(tmp_path: Path) -> Path:
    """A data directory of three nights, one of them trimmed, one with a gap."""
    data = DataDir(tmp_path / "data")
    for i in range(2):
        data.wav[f"n{i}"] = str(night(tmp_path / f"{i}.edf", i))
    onsets = [tal(i if i < 45 else i + 30) for i in range(90)]
    gapped = [Signal("EEG Fpz-Cz", noise(90, 100, 9), 100), Signal("EEG Pz-Oz", noise(90, 100, 8), 100), annotations(onsets)]
    data.wav["n2"] = str(Edf(gapped, reserved="EDF+D").write(tmp_path / "2.edf"))
    data.segments = {"n0": Segment("n0", 30.0, 90.0), "n1": Segment("n1", 0.0, 120.0), "n2": Segment("n2", 0.0, 120.0)}
    data.stages = {"n0": ["N1", "N2"], "n1": ["W", "N1", "N2", "R"], "n2": ["W", "N1", "N2", "R"]}
    data.utt2spk = {f"n{i}": f"p{i}" for i in range(3)}
    data.write()
    return data.path


def run(*words: object) -> int:
    return main(["features", "--config", CONFIG, "--quiet", *map(str, words)])


def test_a_store_of_nights(nights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "exp"
    assert run(nights, out, "--nj", 1, "--data-out", tmp_path / "used", "signal.channels=[Pz-Oz,Fpz-Cz]") == 0
    said = capsys.readouterr().out
    assert "3 utterances, 0.08 h" in said
    assert "1 gaps of 30 s in all" in said
    assert "2 scored epochs touch a gap of their recording: unscored" in said
    info = StoreInfo.read(out)
    assert (info.kind, info.unit, info.sample_rate, info.frame_shift) == ("signal", "uV", 100, 0.01)
    assert info.channels == ["Pz-Oz", "Fpz-Cz"]
    assert info.config["signal"]["lowpass"] == 35.0
    used = DataDir.read(tmp_path / "used")
    assert used.stages["n2"] == ["W", "?", "?", "R"]
    assert used.stages["n1"] == ["W", "N1", "N2", "R"]
    montage = Montage.read("sleep_edf").select(["Pz-Oz", "Fpz-Cz"])
    data = DataDir.read(nights)
    for id, (recording, start, end) in (data.segments or {}).items():
        stored = read_matrix(used.rxfile(id))
        np.testing.assert_array_equal(stored, read_signal(open_psg(data.wav[recording]), montage, start=start, end=end))
        assert len(stored) == len(used.stages[id]) * 3000
    assert not read_matrix(used.rxfile("n2"))[4500:7500].any()
    picks = (out / "picks.tsv").read_text().splitlines()
    assert picks[0].split("\t")[:4] == ["id", "file", "channel", "source"]
    assert picks[1].split("\t")[2:8] == ["Pz-Oz", "EEG Pz-Oz", "+1", "no", "uV", "100"]
    assert len(picks) == 7
    assert validate(tmp_path / "used").exit_code == 0


def test_more_workers_and_a_resumed_run_make_the_same_bytes(nights: Path, tmp_path: Path) -> None:
    assert run(nights, tmp_path / "one", "--nj", 1) == 0
    assert run(nights, tmp_path / "two", "--nj", 2) == 0
    (tmp_path / "two" / "feats.2.ark").unlink()  # as if the kill had come before it
    assert run(nights, tmp_path / "two", "--nj", 1) == 0
    for file in sorted((tmp_path / "one").glob("feats.*.ark")):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()
    assert (tmp_path / "one" / "picks.tsv").read_text() == (tmp_path / "two" / "picks.tsv").read_text()


def test_a_folder_of_nights_and_what_is_set_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "edf"
    night(folder / "SC4001E0-PSG.edf", 1)
    hypnogram_edf(folder / "SC4001EC-Hypnogram.edf", [(0, 120, "Sleep stage W")])
    night(folder / "b.REC", 2, cut=500)
    Edf([Signal("EEG Fpz-Cz", noise(30, 50), 50)]).write(folder / "slow.edf")
    Edf([Signal("EEG Fpz-Cz", noise(30, 100), 100, unit="")]).write(folder / "unit.edf")
    Edf([Signal("EMG", noise(30, 100), 100)]).write(folder / "other.edf")
    Edf([Signal("EEG Fpz-Cz", noise(30, 100), 100, unit="V")]).write(folder / "volts.edf")
    (folder / "broken.edf").write_bytes(b"0       " + bytes(100))
    assert run(folder, tmp_path / "exp", "--nj", 1, "--min-good", 0.1) == 1
    told = capsys.readouterr()
    assert "1 files hold annotations only" in told.out
    assert "Fpz-Cz (EEG Fpz-Cz): its standard deviation is" in told.err
    assert "truncated" in told.err
    reasons = {line.split("\t")[0]: line for line in (tmp_path / "exp" / "quarantine.tsv").read_text().splitlines()}
    assert "shorter than any EDF header" in reasons["broken"]
    assert "50 samples per second, 100 asked for" in reasons["slow"]
    assert "does not say its unit" in reasons["unit"]
    assert "no channel for Fpz-Cz" in reasons["other"]
    assert set(reasons) == {"id", "broken", "slow", "unit", "other"}
    scp = (tmp_path / "exp" / "feats.scp").read_text().split()[::2]
    assert scp == ["SC4001E0-PSG", "b", "volts"]


def test_settings_are_checked(nights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["signal.chanels=[Cz]"], "chanels"),
        (["signal.sample_rate=fast"], "sample_rate"),
        (["signal.channels=[Fpz]"], "Did you mean 'Fpz-Cz'"),
        (["signal.lowpass=70"], "lowpass < 50"),
        (["--compress"], "--compress is for features of sound"),
        (["--cmvn", "speaker"], "--cmvn is for features of sound"),
    ):
        assert run(nights, tmp_path / "exp", "--nj", 1, *words) == 2
        assert said in capsys.readouterr().err
    assert run(nights, tmp_path / "exp", "--nj", 1) == 0
    assert run(nights, tmp_path / "exp", "--nj", 1, "signal.lowpass=30") == 2
    assert "signal.lowpass: 35.0 there, 30.0 now" in capsys.readouterr().err


def test_memory_does_not_grow_with_the_night(tmp_path: Path) -> None:
    one = night(tmp_path / "short.edf", 1, 600)
    long = tmp_path / "long.edf"
    data = one.read_bytes()
    header = 256 * 4
    shutil.copy(one, long)
    with long.open("r+b") as file:
        file.seek(236)
        file.write(b"28800   ")
        file.seek(0, 2)
        for _ in range(47):
            file.write(data[header:])
    peaks = []
    for path in (one, long):
        psg = open_psg(path)
        picks = Montage.of(["EEG Fpz-Cz", "EEG Pz-Oz"]).pick(psg)
        tracemalloc.start()
        rows = sum(map(len, signal_blocks(psg, picks)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert rows == psg.duration * 100
    assert peaks[1] < 1.5 * peaks[0] < 60e6, peaks


def test_feats_json_is_plain(nights: Path, tmp_path: Path) -> None:
    assert run(nights, tmp_path / "exp", "--nj", 1) == 0
    plain = json.loads((tmp_path / "exp" / "feats.json").read_text())
    assert plain["config"]["montage"] == {"Fpz-Cz": ["Fpz-Cz"]}
