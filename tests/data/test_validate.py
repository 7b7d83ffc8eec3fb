"""Every fault of a data directory is named with its line and remedy, the rest is done, and --fix mends what is safe."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from edf_files import Edf, Signal, noise

from sigssl.cli.main import main
from sigssl.data.ark import ArkWriter, StoreInfo
from sigssl.data.audio import read
from sigssl.data.datadir import DataDir, Segment
from sigssl.data.findings import Report
from sigssl.data.validate import validate
from sigssl.errors import UserError

N = 40


def tone(seconds: float = 0.25, rate: int = 16000, channels: int = 1) -> np.ndarray:
    x = 0.1 * np.random.default_rng(int(seconds * 1000)).standard_normal((int(seconds * rate), channels))
    return x.astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound directory of 40 recordings of 8 speakers, with every kind of table."""
    (tmp_path / "wavs").mkdir()
    data = DataDir(path=tmp_path / "d")
    for i in range(N):
        id = f"s{i % 8}-u{i:02d}"
        path = tmp_path / "wavs" / f"{id}.wav"
        soundfile.write(path, tone(), 16000)
        data.wav[id], data.utt2spk[id], data.text[id] = str(path), f"s{i % 8}", f"word {i}"
        data.utt2label[id], data.utt2dur[id] = ("yes", "no")[i // 8 % 2], 0.25
    data.write()
    return data.path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def kinds(report: Report) -> set[str]:
    return {finding.kind for finding in report.findings}


def only(report: Report) -> str:
    """The text of the one finding there is."""
    assert len(report.findings) == 1, report.text()
    f = report.findings[0]
    return f"{f.level}: {f.where}: {f.what}. {f.repair}."


def first_wav(folder: Path, id: str = "s1-u01") -> Path:
    return folder.parent / "wavs" / f"{id}.wav"


def test_a_sound_directory(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "40 utterances" in out and "8 speakers" in out and "40 at 16000 Hz" in out and out.endswith("sound\n")
    assert "utt2label: 2 classes (yes 24, no 16); 0 % singletons" in out
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert main(["validate", str(folder), "--fix"]) == 0
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before  # nothing to do, nothing touched


def damage_truncate(path: Path) -> None:
    soundfile.write(path.with_suffix(".flac"), tone(2.0), 16000)
    os.truncate(path.with_suffix(".flac"), path.with_suffix(".flac").stat().st_size * 6 // 10)
    path.with_suffix(".flac").rename(path)


def damage_nan(path: Path) -> None:
    x = tone()
    x[100] = np.nan
    soundfile.write(path, x, 16000, subtype="FLOAT")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damage_truncate, r"truncated or damaged: 32000 samples \(2.000 s\) declared"),
        (lambda path: os.truncate(path, 3000), r"truncated: its header declares 8000 bytes of samples, 2956 are there"),
        (lambda path: path.write_bytes(b""), r"is empty \(0 bytes\)"),
        (lambda path: path.unlink(), r"no such file"),
        (damage_nan, r"1 samples are NaN or infinite, the first at 0.006 s"),
    ],
    ids=["truncated FLAC", "truncated WAV", "empty", "missing", "NaN"],
)
def test_a_bad_recording_is_set_aside_and_the_rest_is_done(
    folder: Path, damage: Callable[[Path], object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(first_wav(folder))
    report = validate(folder)
    assert re.search(rf"error: .*/d/wav.scp:6: .*s1-u01.wav: {said}.*--fix' drops what depends on it", only(report))
    assert set(report.quarantined) == {"s1-u01"} and report.exit_code == 1
    assert "1 of 40 utterances set aside (97.5 % good)" in report.text()
    assert main(["validate", str(folder), "--fix"]) == 1
    assert "lists the 1 utterances that were dropped" in capsys.readouterr().out
    data = DataDir.read(folder)
    assert len(data) == 39 and len(data.text) == len(data.utt2spk) == len(data.utt2label) == len(data.utt2dur) == 39
    assert "s1-u01" in (folder / ".backup/wav.scp").read_text()
    assert "s1-u01\t" in (folder / "quarantine.tsv").read_text()
    assert main(["validate", str(folder)]) == 0
    for u in data.utterances():
        assert read(u.path).shape == (1, 4000)


def test_headers_alone_find_less(folder: Path) -> None:
    damage_nan(first_wav(folder))
    assert validate(folder, depth="header").exit_code == 0
    first_wav(folder).unlink()
    assert validate(folder, depth="none").exit_code == 0
    assert validate(folder, depth="header", nj=2).exit_code == 1


def test_stereo_and_other_rates_are_told(folder: Path) -> None:
    soundfile.write(first_wav(folder), tone(channels=2), 16000)
    said = only(validate(folder))
    assert re.search(r"warning: .*wav.scp:6: .*has 2 channels; the first is read unless.*an index, mean or all", said)
    soundfile.write(first_wav(folder), tone(rate=8000), 8000)
    report = validate(folder)
    assert "s1-u01.wav has 8000 Hz among 16000 Hz. It is resampled when read, which leaves its upper band empty" in only(report)
    assert report.exit_code == 0 and not report.quarantined
    strict = validate(folder, sample_rate=16000)
    assert "has 8000 Hz, 16000 expected" in only(strict) and set(strict.quarantined) == {"s1-u01"}


def test_silent_recording_is_odd(folder: Path) -> None:
    soundfile.write(first_wav(folder), np.zeros(4000), 16000)
    assert "is silent: every sample is 0. Listen to it" in only(validate(folder))


def test_cut_ogg(folder: Path) -> None:
    whole = first_wav(folder).with_suffix(".ogg")
    soundfile.write(whole, tone(3.0), 16000)
    edit(folder / "wav.scp", "s1-u01.wav", "s1-u01.ogg")
    edit(folder / "utt2dur", "s1-u01 0.25", "s1-u01 3")
    assert not validate(folder).findings
    pages = [m.start() for m in re.finditer(b"OggS", whole.read_bytes())]
    os.truncate(whole, pages[-1])
    assert kinds(validate(folder)) & {"odd recording", "bad recording"}


def test_duplicate_id(folder: Path) -> None:
    with (folder / "wav.scp").open("a") as file:
        file.write(f"s0-u00 {first_wav(folder, 's0-u00')}\ns1-u01 /elsewhere.wav\n")
    with pytest.raises(UserError, match=r"wav.scp:41: id 's0-u00' again \(first in line 1\)"):
        DataDir.read(folder)
    report = validate(folder, fix=True)
    text = report.text()
    assert re.search(r"wav.scp:41: repeated line: 's0-u00' again, as in line 1", text)
    assert re.search(r"wav.scp:42: duplicate id: 's1-u01' again with another value than in line 6: '/elsewhere.wav' against", text)
    assert set(report.quarantined) == {"s1-u01"} and len(DataDir.read(folder)) == 39
    assert not validate(folder).findings


def test_conflicting_transcripts_cost_the_transcript_only(folder: Path) -> None:
    with (folder / "text").open("a") as file:
        file.write("s1-u01 other words\n")
    report = validate(folder, fix=True)
    assert {"duplicate id", "unsorted"} == kinds(report) and not report.quarantined and report.exit_code == 0
    data = DataDir.read(folder)
    assert len(data) == 40 and "s1-u01" not in data.text


def test_unsorted(folder: Path) -> None:
    lines = (folder / "wav.scp").read_text().splitlines()
    (folder / "wav.scp").write_text("\n".join(reversed(lines)) + "\n")
    report = validate(folder)
    assert re.search(r"wav.scp:2: .*comes after.*LC_ALL=C sort'. 'sigssl validate --fix' sorts it", only(report))
    assert report.exit_code == 1 and not report.quarantined
    assert len(DataDir.read(folder)) == 40  # reading does not mind
    assert validate(folder, fix=True).exit_code == 0
    assert (folder / "wav.scp").read_text().splitlines() == lines
    assert (folder / ".backup/wav.scp").read_text().splitlines() == lines[::-1]


def test_transcript_without_utterance_and_utterance_without_speaker(folder: Path) -> None:
    edit(folder / "text", "s1-u01 ", "s1-u01b ")
    report = validate(folder)
    text = report.text()
    assert re.search(r"error: .*text:6: without utterance: utterance 's1-u01b' is not in wav.scp.*or .* drops the line", text)
    assert re.search(r"warning: .*wav.scp:6: not in text: utterance 's1-u01' has no line in text", text)
    edit(folder / "utt2spk", "s2-u02 s2\n", "")
    report = validate(folder, fix=True)
    assert set(report.quarantined) == {"s2-u02"} and {"not in utt2spk", "spk2utt differs"} <= kinds(report)
    assert not [f for f in validate(folder).findings if f.level == "error"]
    assert "s1-u01b" not in (folder / "text").read_text()


def test_segments(folder: Path) -> None:
    lines = [f"{id} {id} 0 0.25\n" for id in DataDir.read(folder).ids()]
    lines[5] = "s1-u01 s1-u01 0.1 2.0\n"
    lines[6] = "s1-u09 nowhere 0 0.25\n"
    (folder / "segments").write_text("".join(lines))
    report = validate(folder)
    text = report.text()
    assert re.search(r"segments:6: segment outside: 's1-u01' goes from 0.1 s to 2 s, but recording 's1-u01' lasts 0.250 s", text)
    assert re.search(r"segments:7: without recording: 's1-u09' is cut from recording 'nowhere', which wav.scp lacks", text)
    assert re.search(r"warning: .*wav.scp:7: unused recording: no segment is cut from recording 's1-u09'", text)
    assert report.exit_code == 1 and validate(folder, fix=True).quarantined.keys() == {"s1-u01", "s1-u09"}
    assert len(DataDir.read(folder).utterances()) == 38
    lines[7] = "s1-u17 s1-u17 0.2 0.1\n"
    (folder / "segments").write_text("".join(lines))
    assert "segments:8: bad segment: 's1-u17': the segment ends (0.1 s) before it begins (0.2 s)" in validate(folder).text()


def test_durations_are_measured(folder: Path) -> None:
    edit(folder / "utt2dur", "s1-u01 0.25", "s1-u01 0.5")
    assert "utt2dur:6: wrong duration: utterance 's1-u01' lasts 0.250 s, not 0.5 s" in validate(folder).text()
    (folder / "utt2dur").unlink()
    (folder / "spk2utt").write_text("s0 s0-u00\n")
    assert "spk2utt differs" in kinds(validate(folder))
    assert validate(folder, fix=True).exit_code == 0
    assert set(DataDir.read(folder).utt2dur.values()) == {0.25}
    assert len((folder / "spk2utt").read_text().splitlines()) == 8


def test_windows_files_are_noted_and_rewritten(folder: Path) -> None:
    (folder / "text").write_bytes(b"\xef\xbb\xbf" + (folder / "text").read_bytes().replace(b"\n", b"\r\n"))
    report = validate(folder, fix=True)
    assert kinds(report) == {"byte order mark", "line ends"} and report.exit_code == 0
    assert not validate(folder).findings


def test_labels_that_look_wrong(folder: Path) -> None:
    edit(folder / "utt2label", "s1-u01 yes", "s1-u01 Yes")
    assert {"label variants", "singletons"} == kinds(validate(folder))
    ids = DataDir.read(folder).ids()
    (folder / "utt2label").write_text("".join(f"{id} yes\n" for id in ids))
    assert "every label is 'yes'" in only(validate(folder))


def test_number_of_phone_labels(folder: Path) -> None:
    (folder / "phones").write_text(f"s0-u00 {'a ' * 25}\ns1-u01 {'a ' * 50}\n")
    said = [f for f in validate(folder).findings if f.kind == "number of labels"]
    assert len(said) == 1 and said[0].where.endswith("phones:2") and "has 50 labels, but lasts 0.250 s, that is 25" in said[0].what


def test_nights_are_opened_and_their_stages_counted(tmp_path: Path) -> None:
    night = Edf([Signal("EEG", noise(100, 100), 100), Signal("EOG", noise(100, 50), 50)]).write(tmp_path / "a.edf")
    data = DataDir(tmp_path, wav={"a": str(night)}, segments={"n": Segment("a", 10.0, 100.0)}, utt2spk={"n": "p"})
    data.stages = {"n": ["W", "N2", "?"]}
    data.write()
    report = validate(tmp_path)
    assert not report.findings, report.text()
    assert "0.03 hours of 1 polysomnograms: 1 with 2 channel(s)" in report.text()
    (tmp_path / "epoch_length").write_text("20\n")
    assert "'n' has 3 stages, but lasts 90.000 s, that is 4.50 epochs of 20 s" in only(validate(tmp_path))
    (tmp_path / "epoch_length").unlink()
    (tmp_path / "stages").write_text("n W N4 ?\n")
    assert "'N4' are no stages; expected W N1 N2 N3 R ?" in only(validate(tmp_path, depth="none"))
    (tmp_path / "stages").write_text("n W N2 ?\n")
    (tmp_path / "segments").write_text("n a 10 130\n")
    assert kinds(validate(tmp_path)) == {"segment outside"}
    with night.open("ab") as file:
        file.truncate(night.stat().st_size - 10)
    (tmp_path / "segments").write_text("n a 9 99\n")
    assert "truncated: 100 data records declared, 99 are there" in only(validate(tmp_path))


def test_nights_that_are_missing_or_broken_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.edf").write_bytes(b"0       night")
    (tmp_path / "wav.scp").write_text(f"a {tmp_path}/a.edf\nb {tmp_path}/b.edf\n")
    said = validate(tmp_path).text()
    assert "b.edf: no such file" in said
    assert "shorter than any EDF header" in said


def test_features(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = folder / "store"
    with ArkWriter(store) as writer:
        for i, id in enumerate(DataDir.read(folder).ids()):
            matrix = np.zeros((12 if i == 3 else 25, 7 if i == 4 else 8), np.float32)
            if i == 5:
                matrix[3] = np.nan
            writer.write(id, matrix)
    StoreInfo("features", 8, 0.01, 16000).write(store)
    (store / "feats.scp").rename(folder / "feats.scp")
    os.truncate(store / "feats.ark", (store / "feats.ark").stat().st_size - 10)
    text = validate(folder).text()
    assert re.search(r"feats.scp:4: wrong number of frames: 's0-u24' has 12 frames, but lasts 0.250 s, that is 25 frames", text)
    assert re.search(r"feats.scp:5: width of features: 's0-u32' has 7 columns, the others 8", text)
    assert re.search(r"feats.scp:6: bad features: 's1-u01': holds NaN or infinite numbers", text)
    assert re.search(r"feats.scp:40: bad features: 's7-u39': .*truncated", text)
    assert "holds NaN" not in validate(folder, depth="header").text()
    capfd.readouterr()


def test_below_95_percent_all_stops(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in (1, 9, 17):
        first_wav(folder, f"s1-u{i:02d}").unlink()
    before = (folder / "wav.scp").read_text()
    assert main(["validate", str(folder), "--fix", "--quarantine", str(folder / "bad.tsv")]) == 2
    out = capsys.readouterr().out
    assert "3 of 40 utterances set aside (92.5 % good)" in out and "Fewer than 95 % are usable: stop" in out
    assert (folder / "wav.scp").read_text() == before and not (folder / ".backup").exists()
    assert len((folder / "bad.tsv").read_text().splitlines()) == 4
    assert main(["validate", str(folder), "--fix", "--min-good", "0.9"]) == 1


def test_many_findings_are_counted_not_all_shown(folder: Path) -> None:
    (folder / "text").write_text("".join(f"x{i:02d} word\n" for i in range(30)))
    text = validate(folder).text(most=3)
    assert text.count(": without utterance: ") == 3 and "... and 27 more of kind 'without utterance'" in text


def test_the_first_backup_is_kept(folder: Path) -> None:
    original = (folder / "text").read_text()
    for _ in range(2):
        (folder / "text").write_text((folder / "text").read_text() + "zz orphan\n")
        validate(folder, fix=True)
    assert (folder / ".backup/text").read_text() == original + "zz orphan\n" and (folder / ".backup/text.1").exists()


def test_no_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(tmp_path / "gone")]) == 2
    assert "no such data directory" in capsys.readouterr().err
    (tmp_path / "text").write_text("a b\n")
    with pytest.raises(UserError, match=r"neither a readable wav.scp nor feats.scp"):
        validate(tmp_path)
    (tmp_path / "wav.scp").write_text("")
    with pytest.raises(UserError, match="holds no utterance"):
        validate(tmp_path)
    (tmp_path / "wav.scp").write_bytes(b"a \xff\n")
    with pytest.raises(UserError, match="is not UTF-8"):
        validate(tmp_path)
