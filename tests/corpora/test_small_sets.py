"""The small real sets, from their excerpts and from trees of the shape that upstream publishes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sigssl.corpora import an4, fsdd, ljspeech, phones, speech_commands_ar, vctk
from sigssl.data.datadir import DataDir
from sigssl.errors import UserError

Check = Callable[[dict[str, DataDir]], None]
Noise = Callable[..., Path]
Real = Callable[[str], Path]


def test_fsdd_real(real_data: Real, tmp_path: Path, check: Check) -> None:
    made = fsdd.prepare(real_data("speech_digits"), tmp_path)
    check(made)
    assert {part: len(d) for part, d in made.items()} == {"all": 2500, "train": 2250, "test": 250}
    assert set(Counter(made["all"].utt2label.values()).values()) == {250}
    assert len(set(made["all"].utt2spk.values())) == 5
    assert made["all"].utt2dur["george-0-00"] == 0.298
    assert made["test"].text["theo-9-04"] == "nine"


def test_fsdd_upstream(tmp_path: Path, noise: Noise, check: Check) -> None:
    for digit in range(2):
        for take in (0, 4, 5, 12):
            noise(tmp_path / "fsdd" / "recordings" / f"{digit}_theo_{take}.wav")
    made = fsdd.prepare(tmp_path / "fsdd", tmp_path / "out")
    check(made)
    assert made["test"].ids() == ["theo-0-00", "theo-0-04", "theo-1-00", "theo-1-04"]
    assert made["train"].utt2label["theo-1-12"] == "1"
    noise(tmp_path / "fsdd" / "recordings" / "zero_theo.wav")
    with pytest.raises(UserError, match="not named"):
        fsdd.prepare(tmp_path / "fsdd", tmp_path / "out")


def test_commands_real(real_data: Real, tmp_path: Path, check: Check) -> None:
    made = speech_commands_ar.prepare(real_data("speech_commands_ar"), tmp_path)
    check(made)
    assert {part: len(d) for part, d in made.items()} == {"train": 768, "dev": 192, "test": 192}
    speakers = [set(d.utt2spk.values()) for d in made.values()]
    assert [len(s) for s in speakers] == [16, 4, 4] and len(set.union(*speakers)) == 24
    assert all(len(set(d.utt2label.values())) == 12 for d in made.values())


def test_commands_upstream(tmp_path: Path, noise: Noise, check: Check) -> None:
    root = tmp_path / "up"
    for speaker, part in ((1, "train"), (2, "val"), (3, "test")):
        name = f"dataset/yes/{speaker:08d}_NO_06.wav"
        noise(root / name)
        (root / f"{part}.csv").write_text(f"file,class\n{name},yes\n")
    made = speech_commands_ar.prepare(root, tmp_path / "out")
    check(made)
    assert made["dev"].ids() == ["spk02-yes-06"] and made["test"].utt2label == {"spk03-yes-06": "yes"}


def test_vctk_real(real_data: Real, tmp_path: Path, check: Check) -> None:
    made = vctk.prepare(real_data("vctk_p239"), tmp_path)
    check(made)
    assert len(made["all"]) == len(made["all"].text) == 200
    assert made["all"].text["p239_001"] == "Please call Stella."


@pytest.mark.parametrize("version", ["0.80", "0.92"])
def test_vctk_published(tmp_path: Path, noise: Noise, check: Check, version: str) -> None:
    root = tmp_path / "VCTK"
    for speaker, number in (("p225", 1), ("p225", 2), ("s5", 1)):
        if version == "0.80":
            noise(root / "wav48" / speaker / f"{speaker}_{number:03d}.wav")
        else:
            for mic in ("mic1", "mic2"):
                noise(root / "wav48_silence_trimmed" / speaker / f"{speaker}_{number:03d}_{mic}.flac")
    (root / "txt" / "p225").mkdir(parents=True)
    (root / "txt" / "p225" / "p225_001.txt").write_text("Please call Stella.  \n")
    made = vctk.prepare(root, tmp_path / "out")
    check(made)
    assert made["all"].ids() == ["p225_001", "p225_002", "s5_001"]
    assert made["all"].text == {"p225_001": "Please call Stella."}
    if version == "0.92":
        assert vctk.prepare(root, tmp_path / "out", mic="mic2")["all"].wav["s5_001"].endswith("s5_001_mic2.flac")
    with pytest.raises(UserError, match="mic1 or mic2"):
        vctk.prepare(root, tmp_path / "out", mic="mic3")


def test_an4_real(real_data: Real, tmp_path: Path, check: Check) -> None:
    made = an4.prepare(real_data("an4"), tmp_path)
    check(made)
    assert {part: len(d) for part, d in made.items()} == {"all": 55, "train": 43, "test": 12}
    assert len(made["all"].text) == 45 and len(set(made["all"].utt2spk.values())) == 34
    assert not set(made["train"].utt2spk.values()) & set(made["test"].utt2spk.values())
    words = {line.split()[0] for line in (tmp_path / "lexicon.txt").read_text().splitlines()}
    assert {word for text in made["all"].text.values() for word in text.split()} <= words
    assert "A AH\nA EY\n" in (tmp_path / "lexicon.txt").read_text()


def test_an4_published(tmp_path: Path, noise: Noise, check: Check) -> None:
    root = tmp_path / "an4"
    noise(root / "wav" / "an4_clstk" / "fash" / "an251-fash-b.wav")
    noise(root / "wav" / "an4test_clstk" / "fcaw" / "an406-fcaw-b.wav")
    (root / "etc").mkdir()
    (root / "etc" / "an4_train.fileids").write_text("an4_clstk/fash/an251-fash-b\n")
    (root / "etc" / "an4_train.transcription").write_text("<s> YES </s> (an251-fash-b)\n")
    (root / "etc" / "an4_test.fileids").write_text("an4test_clstk/fcaw/an406-fcaw-b\n")
    (root / "etc" / "an4_test.transcription").write_text("RUBOUT G M E (an406-fcaw-b)\n")
    made = an4.prepare(root, tmp_path / "out")
    check(made)
    assert made["all"].text == {"fash-an251-fash-b": "YES", "fcaw-an406-fcaw-b": "RUBOUT G M E"}
    (root / "etc" / "an4_test.transcription").write_text("RUBOUT G M E\n")
    with pytest.raises(UserError, match=r"an4_test.transcription:1: expected"):
        an4.prepare(root, tmp_path / "out")
    (root / "wav" / "an4_clstk" / "fash" / "an251-fash-b.wav").unlink()
    with pytest.raises(UserError, match=r"an251-fash-b is listed, but neither .*\.sph"):
        an4.prepare(root, tmp_path / "out")


def test_ljspeech(real_data: Real, tmp_path: Path, noise: Noise, check: Check) -> None:
    made = ljspeech.prepare(real_data("ljspeech_excerpt"), tmp_path / "excerpt")
    check(made)
    assert (len(made["all"]), len(made["all"].text)) == (32, 8)
    root = tmp_path / "LJSpeech-1.1"
    noise(root / "wavs" / "LJ001-0001.wav")
    (root / "metadata.csv").write_text('LJ001-0001|The "new" 3|The "new" three\n')
    made = ljspeech.prepare(root, tmp_path / "out")
    check(made)
    assert made["all"].text == {"LJ001-0001": 'The "new" three'}
    (root / "metadata.csv").write_text("LJ001-0001\n")
    with pytest.raises(UserError, match=r"metadata.csv:1: 1 fields"):
        ljspeech.prepare(root, tmp_path / "out")


def test_phones_real(real_data: Real, tmp_path: Path, check: Check) -> None:
    made = phones.prepare(real_data("speech_phones"), tmp_path)
    check(made)
    assert (len(made["all"]), len(made["aligned"])) == (19, 15)
    labels = made["aligned"].phones["arctic_slt-a0009"]
    assert labels[:14] == ["sil"] * 13 + ["hh"] and len(labels) == 310
    assert labels[68:70] == ["sh", "sh"]  # 0.595 to 0.705 s in phones.csv


def test_phones_of_ones_own(tmp_path: Path, noise: Noise, check: Check) -> None:
    root = tmp_path / "mine"
    noise(root / "a.wav", 0.05)
    (root / "metadata.csv").write_text("path,utt_id,speaker\na.wav,u 1,ann-lee\n")
    table = root / "phones.csv"
    table.write_text("utt_id,start_s,end_s,phone\nu 1,0.01,0.02,AO1\nu 1,0.02,0.045,zh\n")
    made = phones.prepare(root, tmp_path / "out")
    check(made)
    assert made["all"].phones == {"ann_lee-u_1": ["sil", "aa", "sh", "sh", "sil"]}
    assert phones.prepare(root, tmp_path / "out", phone_set="raw")["all"].phones["ann_lee-u_1"][1] == "AO1"
    for text, message in (
        ("u 1,0.03,0.02,b", "phones.csv:2: 0.03 to 0.02"),
        ("u 1,0,1,qq", "phones.csv:2: phone 'qq'"),
        ("v,0,1,b", "'v' is no utt_id"),
    ):
        table.write_text(f"utt_id,start_s,end_s,phone\n{text}\n")
        with pytest.raises(UserError, match=message):
            phones.prepare(root, tmp_path / "out")
