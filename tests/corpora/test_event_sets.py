"""Event-locked EEG: windows about events, labels, and what lies outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sigssl.corpora import edf, eegmmidb, muse
from sigssl.corpora.event_tree import Event, Locked, windows
from sigssl.data.datadir import DataDir
from sigssl.data.io import read_json
from sigssl.data.psg import Montage, open_psg, read_signal
from sigssl.errors import UserError

pytest.importorskip("edfio")


def run(path: Path, events: list[tuple[float, float, str]], seconds: float = 30.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    edf.write_edf(path, ["C3..", "C4.."], np.random.default_rng(0).normal(0, 20, (2, round(160 * seconds))), 160.0, events)


def test_windows_lie_within_the_recording() -> None:
    events = [Event(0.05, 0.0, "a"), Event(1.0, 0.0, "b"), Event(9.5, 0.0, "c")]
    one = Locked("p1", "p", Path("x"), 10.0, events)
    assert windows(one, -0.1, 0.5) == [(0.9, 1.5, "b"), (9.4, 10.0, "c")]
    assert windows(one, 0.0, 0.6) == [(0.05, 0.65, "a"), (1.0, 1.6, "b")]
    lasting = Locked("p1", "p", Path("x"), 10.0, [Event(0.0, 9.0, "rest")])
    assert windows(lasting, 0.0, 4.0) == [(0.0, 4.0, "rest"), (4.0, 8.0, "rest")]


def test_eegmmidb(tmp_path: Path) -> None:
    run(tmp_path / "S001/S001R03.edf", [(0.0, 4.2, "T0"), (4.2, 4.1, "T2"), (28.0, 4.1, "T1")])
    run(tmp_path / "S002/S002R05.edf", [(0.0, 4.2, "T0"), (4.2, 4.1, "T2")])
    run(tmp_path / "S002/S002R01.edf", [(0.0, 30.0, "T0")])
    run(tmp_path / "S002/S002R02.edf", [(0.0, 30.0, "T1")])
    made = eegmmidb.prepare(tmp_path, tmp_path / "out", runs="all", labels="meaning")["all"]
    assert made.utt2label["S001R03-0000"] == "rest" and made.utt2label["S001R03-0001"] == "right_fist"
    assert made.utt2label["S002R05-0001"] == "both_feet" and sum(v == "eyes_open" for v in made.utt2label.values()) == 7
    assert made.utt2spk["S002R05-0001"] == "S002" and set(made.utt2dur.values()) == {4.0}
    summary = read_json(tmp_path / "out/all/events.json")
    assert summary["outside_the_recording"] == 1 and summary["persons"] == 2
    assert "run 2 has T0" in (tmp_path / "out/all/quarantine.tsv").read_text()
    plain = eegmmidb.prepare(tmp_path, tmp_path / "b", runs="3", start=-1.0, end=2.0)["all"]
    assert plain.utt2label == {"S001R03-0000": "T2", "S001R03-0001": "T1"}
    assert DataDir.read(tmp_path / "b/all").segments == plain.segments
    for options, message in [
        ({"runs": "15"}, "expected all"),
        ({"labels": "x"}, "labels 'x'"),
        ({"runs": "7"}, "no files such as"),
    ]:
        with pytest.raises(UserError, match=message):
            eegmmidb.prepare(tmp_path, tmp_path / "c", **options)
    with pytest.raises(UserError, match="the end after the start"):
        eegmmidb.prepare(tmp_path, tmp_path / "c", start=4.0)


def test_muse_arrays_and_tables_are_the_same_recording(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(-200, 200, (1024, 4)).astype(np.int16)
    (tmp_path / "a/N170").mkdir(parents=True)
    arrays = {
        "eeg_code": codes,
        "uV_per_code": 1000 / 2048,
        "fs": 256.0,
        "channels": muse.CHANNELS,
        "events": [[100, 2], [300, 1], [1000, 1]],
    }
    np.savez(tmp_path / "a/N170/subject1_session1_1.npz", **arrays)
    folder = tmp_path / "b/N170/subject1/session1"
    folder.mkdir(parents=True)
    marks = {100: 2, 300: 1, 1000: 1}
    rows = [
        ",".join(["0", *(f"{value * 1000 / 2048:.3f}" for value in row.tolist()), "0", str(marks.get(n, 0))])
        for n, row in enumerate(codes)
    ]
    (folder / "data_1.csv").write_text("\n".join(["timestamps,TP9,AF7,AF8,TP10,Right AUX,Marker", *rows]) + "\n")
    found = [muse.prepare(tmp_path / name, tmp_path / f"out_{name}")["N170"] for name in "ab"]
    assert [sorted(d.utt2label.values()) for d in found] == [["face", "house"]] * 2
    signals = [
        read_signal(open_psg(d.utterances()[0].path), Montage.read("muse"), 256.0, highpass=None, lowpass=None) for d in found
    ]
    assert signals[0].shape == (1024, 4) and np.abs(signals[0] - signals[1]).max() < 0.01
    assert np.abs(signals[0] - codes * (1000 / 2048)).max() < 0.01
    assert [note.text for note in open_psg(found[0].utterances()[0].path).annotations] == ["face", "house", "house"]
    np.savez(tmp_path / "a/N170/subject2_session1_1.npz", **{**arrays, "events": [[100, 9]]})
    np.savez(tmp_path / "a/N170/subject3_session1_1.npz", x=1)
    muse.prepare(tmp_path / "a", tmp_path / "out_a")
    reasons = (tmp_path / "out_a/N170/quarantine.tsv").read_text()
    assert "events [9]; N170 has 1, 2" in reasons and "expected eeg_code" in reasons
    with pytest.raises(UserError, match="no paradigm 'x'"):
        muse.prepare(tmp_path / "a", tmp_path / "c", paradigms="x")
    with pytest.raises(UserError, match="no recordings such as"):
        muse.prepare(tmp_path / "out_b", tmp_path / "c")


def test_real_runs(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    made = eegmmidb.prepare(real_data("eeg_eegmmidb"), tmp_path, runs="fists")["all"]
    assert len(made) == 120 and set(made.utt2label.values()) == {"T0", "T1", "T2"}
    montage = Montage.read("eegmmidb")
    assert len(montage.channels) == 64
    picks = montage.pick(open_psg(made.utterances()[0].path))
    assert len({pick.source for pick in picks}) == 64
