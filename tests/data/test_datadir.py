"""Data directories: as Kaldi, ESPnet and Windows write them, read, written and cut."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigssl.data.datadir import Command, DataDir, Segment
from sigssl.data.segments import format_seconds, format_segment, parse_segment
from sigssl.errors import UserError


def make(folder: Path, **tables: str | bytes) -> Path:
    """Write tables, named with `_scp` for `.scp`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in tables.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / name.replace("_scp", ".scp")).write_bytes(data)
    return folder


def test_kaldi_directory_with_segments(tmp_path: Path) -> None:
    folder = make(
        tmp_path / "d",
        wav_scp="rec1 /data/my recordings/a.wav\nrec2 /data/b.flac\n",
        segments="utt2 rec1 1.5 3.25\nutt1 rec1 0 1.5\nutt3 rec2 0.00 -1\n",
        utt2spk="utt1 s1\nutt2 s1\nutt3 s2\n",
        text="utt1 hello  wide world\nutt2\nutt3 grüße\u3000an alle\n",
        utt2dur="utt3 7.5\n",
        spk2gender="s1 f\ns2 m\n",
    )
    d = DataDir.read(folder)
    assert len(d) == 3 and d.ids() == ["utt1", "utt2", "utt3"]
    assert d.text == {"utt1": "hello  wide world", "utt2": "", "utt3": "grüße\u3000an alle"}
    first, second, third = d.utterances()
    assert first == ("utt1", "/data/my recordings/a.wav", 0.0, 1.5, "s1", 1.5)
    assert (second.start, second.end, second.duration) == (1.5, 3.25, 1.75)
    assert (third.end, third.duration, third.speaker) == (None, 7.5, "s2")


def test_windows_line_ends_byte_order_mark_tabs_and_blank_lines(tmp_path: Path) -> None:
    folder = make(
        tmp_path / "d",
        wav_scp=b"\xef\xbb\xbfb C:\\audio\\b.wav\r\n\r\na\tC:\\audio\\a.wav\r\n",
        text=b"a\tein\tWort \r\nb zwei  \r\n",
    )
    d = DataDir.read(folder)
    assert d.wav == {"b": "C:\\audio\\b.wav", "a": "C:\\audio\\a.wav"}
    assert d.text == {"a": "ein\tWort", "b": "zwei"}
    assert [u.id for u in d.utterances()] == ["a", "b"]


def test_relative_paths_count_from_here_then_from_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path / "d", wav_scp="here x.wav\nthere y.wav\nnowhere z.wav\n")
    (tmp_path / "x.wav").touch()
    (folder / "x.wav").touch()
    (folder / "y.wav").touch()
    monkeypatch.chdir(tmp_path)
    d = DataDir.read("d")
    assert [u.path for u in d.utterances()] == ["x.wav", "z.wav", "d/y.wav"]
    d.write(tmp_path / "copy")  # elsewhere, what was relative to the folder must still be found
    assert DataDir.read(tmp_path / "copy").wav["there"] == str(folder / "y.wav")


def test_commands_are_refused_unless_allowed_but_plain_decoding_is_understood(tmp_path: Path) -> None:
    folder = make(tmp_path / "d", wav_scp="a flac -c -d -s /c/a.flac |\nb cat /c/b.wav |\n")
    assert [u.path for u in DataDir.read(folder).utterances()] == ["/c/a.flac", "/c/b.wav"]
    make(folder, wav_scp="a flac -c -d -s /c/a.flac |\nb flac -c -d /c/b.flac; rm -rf x |\n")
    with pytest.raises(UserError, match=r"wav.scp: 1 recording\(s\) are shell commands, the first 'b'.*allow"):
        DataDir.read(folder)
    allowed = DataDir.read(folder, allow_commands=True).utterances()
    assert isinstance(allowed[1].path, Command) and not isinstance(allowed[0].path, Command)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"wav_scp": "a x.wav\nb y.wav\na z.wav\n"}, r"wav.scp:3: id 'a' again \(first in line 1\)"),
        ({"wav_scp": "a x.wav\nb\n"}, "wav.scp:2: id 'b' stands alone"),
        ({"wav_scp": b"a x.wav\nb \xe9.wav\n"}, r"wav.scp:2: byte 0xe9 is not UTF-8.*iconv"),
        ({"wav_scp": "a x.wav\n", "segments": "u a 1.0\n"}, "segments:1: 'u' 'a 1.0': expected 'UTTERANCE RECORDING"),
        ({"wav_scp": "a x.wav\n", "segments": "t a 0 1\nu a 2.0 1.0\n"}, r"segments:2.*ends \(1.0 s\) before it begins"),
        ({"wav_scp": "a x.wav\n", "utt2dur": "a nan\n"}, "utt2dur:1.*no time"),
        ({"utt2spk": "a s\n"}, "neither wav.scp nor feats.scp"),
    ],
)
def test_what_cannot_be_understood_is_named(tmp_path: Path, tables: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DataDir.read(make(tmp_path / "d", **tables))
    with pytest.raises(UserError, match="no such data directory"):
        DataDir.read(tmp_path / "absent")


def test_segment_of_an_unknown_recording(tmp_path: Path) -> None:
    d = DataDir.read(make(tmp_path / "d", wav_scp="a x.wav\n", segments="u b 0 1\n"))
    with pytest.raises(UserError, match=r"'u' is cut from recording 'b', which wav.scp lacks"):
        d.utterances()


def full(path: Path) -> DataDir:
    return DataDir(
        path=path,
        wav={"rB": "/x/b.wav", "ra": "/x/a.wav"},
        segments={"u2": Segment("rB", 0.5, 2.0), "u1": Segment("ra", 0.0, -1.0), "u3": Segment("ra", 1.0, 3.123456)},
        utt2spk={"u1": "p", "u2": "q", "u3": "p"},
        text={"u1": "one two", "u2": ""},
        utt2dur={"u1": 4.0},
        utt2label={"u1": "k"},
        feats={"u1": "/x/f.ark:5"},
        phones={"u1": ["a", "b"]},
        stages={"u1": ["W", "?"]},
        epoch_length=20.0,
        carried={"spk2gender": {"p": "f", "q": "m"}, "reco2dur": {"ra": "9", "rB": "8"}, "utt2lang": {"u1": "de", "u3": "de"}},
    )


def test_written_is_what_is_read_and_sorted_in_byte_order(tmp_path: Path) -> None:
    d = full(tmp_path / "d")
    d.write()
    again = DataDir.read(tmp_path / "d")
    assert again == d
    assert (tmp_path / "d/wav.scp").read_text() == "rB /x/b.wav\nra /x/a.wav\n"  # C locale: capitals first
    assert (tmp_path / "d/spk2utt").read_text() == "p u1 u3\nq u2\n"
    assert (tmp_path / "d/text").read_text() == "u1 one two\nu2\n"
    again.text = {}
    again.write()
    assert not (tmp_path / "d/text").exists()


def test_subset_keeps_what_its_utterances_need(tmp_path: Path) -> None:
    d = full(tmp_path).subset(["u1", "u3"])
    assert list(d.wav) == ["ra"] and set(d.segments or {}) == {"u1", "u3"}
    assert d.stages and d.phones and d.text == {"u1": "one two"}
    assert d.carried == {"spk2gender": {"p": "f"}, "reco2dur": {"ra": "9"}, "utt2lang": {"u1": "de", "u3": "de"}}
    with pytest.raises(UserError, match="no utterance 'x' and 1 more"):
        d.subset(["u1", "x", "y"])


def test_epoch_length_is_one_number(tmp_path: Path) -> None:
    DataDir(tmp_path, wav={"a": "/a.edf"}, stages={"a": ["W"]}).write()
    assert (tmp_path / "epoch_length").read_text() == "30\n"
    (tmp_path / "epoch_length").unlink()
    assert DataDir.read(tmp_path).epoch_length == 30.0
    (tmp_path / "epoch_length").write_text("20\r\n")
    again = DataDir.read(tmp_path)
    assert again.epoch_length == again.subset(["a"]).epoch_length == 20.0
    (tmp_path / "epoch_length").write_text("half a minute")
    with pytest.raises(UserError, match="'half a minute'; expected one number"):
        DataDir.read(tmp_path)


def test_features_moved_with_the_folder_are_found(tmp_path: Path) -> None:
    folder = make(tmp_path / "d", feats_scp="u /gone/feats.1.ark:2[0:4]\nv /gone/other.ark:2\n")
    (folder / "feats.1.ark").touch()
    d = DataDir.read(folder)
    assert len(d) == 2 and d.utterances() == []
    assert d.rxfile("u") == f"{folder}/feats.1.ark:2[0:4]"
    assert d.rxfile("v") == "/gone/other.ark:2"


names = st.text(st.characters(blacklist_categories=["Cs", "Zs", "Cc", "Zl", "Zp"]), min_size=1, max_size=6)


@settings(max_examples=50)
@given(names, st.floats(0, 1e5), st.floats(0.001, 1e4))
def test_segments_round_trip_to_the_microsecond(recording: str, start: float, length: float) -> None:
    segment = Segment(recording, start, start + length)
    again = parse_segment(format_segment(segment))
    assert again.recording == recording
    assert abs(again.start - segment.start) <= 1e-6 and abs(again.end - segment.end) <= 1e-6


def test_seconds_are_written_short() -> None:
    assert [format_seconds(s) for s in (0.0, 100.0, 3.120, 1 / 3)] == ["0", "100", "3.12", "0.333333"]


def test_large_directory_reads_in_seconds(tmp_path: Path) -> None:
    n = 100_000  # the 281,241 utterances of LibriSpeech take about 3 s
    ids = [f"{i % 2338:04d}-{i:07d}" for i in range(n)]
    for name, value in {"wav.scp": "/corpus/LibriSpeech/x.flac", "utt2spk": "s", "text": "A FEW WORDS", "utt2dur": "12.5"}.items():
        (tmp_path / name).write_text("".join(f"{i} {value}\n" for i in ids))
    code = (
        "import sys, time; from sigssl.data.datadir import DataDir; begin = time.process_time(); "
        "n = len(DataDir.read(sys.argv[1]).utterances()); print(n, time.process_time() - begin)"
    )  # in a process of its own: the checks of types in this one cost more than the reading
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    count, seconds = done.stdout.split()
    assert int(count) == n and float(seconds) < 6
