"""Data directories to lhotse and back, against lhotse itself: its audio, its features, its Kaldi importer and exporter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sigssl.cli.main import main
from sigssl.data import audio
from sigssl.data.ark import ArkWriter, StoreInfo, merge
from sigssl.data.datadir import DataDir, Segment
from sigssl.data.validate import validate
from sigssl.errors import UserError
from sigssl.interop.lhotse import to_lhotse
from sigssl.interop.lhotse_import import from_lhotse, open_cuts

lhotse = pytest.importorskip("lhotse", reason="lhotse is not installed")
RATE = 8000
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torchaudio.*:UserWarning"),  # lhotse looks for it and goes on without
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # lhotse leaves the tars that it reads open
]


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """Two recordings: one whole, one stereo with three utterances cut out of it."""
    rng = np.random.default_rng(0)
    wav = {}
    for name, shape in (("call", (RATE * 4, 2)), ("word", (RATE, 1))):
        wav[name] = str(tmp_path / "audio" / f"{name}.flac")
        Path(wav[name]).parent.mkdir(exist_ok=True)
        soundfile.write(wav[name], rng.normal(0, 0.1, shape), RATE)
    made = DataDir(
        tmp_path / "data",
        wav=wav,
        segments={
            "ann-1": Segment("call", 0.25, 1.5),
            "ann-2": Segment("call", 1.5, 2.0),
            "ben-1": Segment("call", 2.0, 4.0),
            "ben-2": Segment("word", 0.0, -1.0),
        },
        utt2spk={"ann-1": "ann", "ann-2": "ann", "ben-1": "ben", "ben-2": "ben"},
        text={"ann-1": "one two", "ann-2": "łódź", "ben-1": "three", "ben-2": "four"},
        utt2label={"ann-1": "yes", "ben-1": "no"},
        phones={"ann-2": ["W", "AH"]},
        carried={"utt2lang": {"ann-1": "en"}, "spk2gender": {"ann": "f", "ben": "m"}},
    )
    made.write()
    return made


def same_tables(one: DataDir, other: DataDir) -> None:
    for table in ("wav", "segments", "utt2spk", "text", "utt2label", "phones", "stages", "carried", "epoch_length"):
        assert getattr(one, table) == getattr(other, table), table


def test_there_and_back_by_the_verbs(data: DataDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / "cuts.jsonl.gz"
    assert main(["lhotse", "to", str(data.path), str(manifest)]) == 0
    cuts = lhotse.load_manifest(manifest)
    lhotse.qa.validate(cuts, read_data=True)
    for cut in cuts:
        segment = (data.segments or {})[cut.id]
        heard = audio.read(data.wav[segment.recording], segment.start, None if segment.end < 0 else segment.end)
        assert np.allclose(cut.load_audio(), heard, atol=1e-6)
    assert main(["lhotse", "from", str(manifest), str(tmp_path / "back")]) == 0
    assert "4 utterances, 2 speakers" in capsys.readouterr().out
    back = DataDir.read(tmp_path / "back")
    same_tables(back, data)
    assert back.utt2dur == {"ann-1": 1.25, "ann-2": 0.5, "ben-1": 2.0, "ben-2": 1.0}
    assert not [one for one in validate(back.path, depth="header").findings if one.level == "error"]


def test_whole_recordings_stay_without_segments(data: DataDir, tmp_path: Path) -> None:
    plain = replace(data.subset(["ben-2"]), segments=None, wav={"ben-2": data.wav["word"]}, carried={"spk2gender": {"ben": "m"}})
    same_tables(from_lhotse(to_lhotse(plain), tmp_path / "back").data, plain)


def test_stored_features_are_lhotse_s(data: DataDir, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    lengths = {"ann-1": 125, "ann-2": 50, "ben-1": 200, "ben-2": 100}
    matrices = {id: rng.normal(size=(rows, 5)).astype(np.float32) for id, rows in lengths.items()}
    with ArkWriter(tmp_path / "feats") as writer:
        for id, rows in matrices.items():
            writer.write(id, rows)
    merge(tmp_path / "feats")
    StoreInfo("features", 5, 0.01, RATE, config={"features": {"class_path": "x.Y"}}).write(tmp_path / "feats")
    manifest = tmp_path / "cuts.jsonl"
    assert main(["lhotse", "to", str(data.path), str(manifest), "--store", str(tmp_path / "feats")]) == 0
    cuts = lhotse.load_manifest(manifest)
    lhotse.qa.validate(cuts, read_data=True)
    for cut in cuts:
        assert np.array_equal(cut.load_features(), matrices[cut.id])
        assert np.array_equal(cut.truncate(offset=0.1, duration=0.2).load_features(), matrices[cut.id][10:30])
    assert main(["lhotse", "from", str(manifest), str(tmp_path / "back"), "--feats"]) == 0
    assert StoreInfo.read(tmp_path / "back" / "feats").config == {"lhotse": "x.Y"}
    back = DataDir.read(tmp_path / "back")
    from sigssl.data.ark import read_matrix

    assert all(np.array_equal(read_matrix(back.rxfile(id)), rows) for id, rows in matrices.items())


def test_centred_frames_are_one_more_than_lhotse_reads(data: DataDir, tmp_path: Path) -> None:
    with ArkWriter(tmp_path / "feats") as writer:
        writer.write("ben-2", np.arange(101 * 2, dtype=np.float32).reshape(101, 2))
    StoreInfo("features", 2, 0.01, RATE).write(tmp_path / "feats")
    (cut,) = to_lhotse(data.subset(["ben-2"]), tmp_path / "feats")
    assert np.array_equal(cut.load_features(), np.arange(200, dtype=np.float32).reshape(100, 2))


def test_lhotse_s_kaldi_importer_and_exporter_agree(data: DataDir, tmp_path: Path) -> None:
    mono = data.subset(["ben-2"])
    mono.segments = {"ben-2": Segment("word", 0.0, 1.0)}
    mono.text["ben-2"] = "four five"
    mono.carried = {"utt2lang": {"ben-2": "en"}, "spk2gender": {"ben": "m"}}
    mono.write(tmp_path / "mono")
    recordings, supervisions, _ = lhotse.kaldi.load_kaldi_data_dir(tmp_path / "mono", RATE)
    theirs = from_lhotse(
        lhotse.CutSet.from_manifests(recordings, supervisions).trim_to_supervisions(keep_overlapping=False), tmp_path / "theirs"
    ).data
    assert (theirs.text, theirs.utt2spk, theirs.carried) == (
        dict.fromkeys(theirs.text, mono.text["ben-2"]),
        dict.fromkeys(theirs.text, "ben"),
        {"utt2lang": dict.fromkeys(theirs.text, "en"), "spk2gender": {"ben": "m"}},
    )
    recordings, supervisions, _ = to_lhotse(mono).decompose()
    lhotse.kaldi.export_to_kaldi(recordings, supervisions, tmp_path / "exported")
    exported = DataDir.read(tmp_path / "exported")
    assert "ffmpeg" in exported.wav["word"] and exported.resolve("word") == mono.wav["word"]  # a decoder's command, not run
    assert (exported.text, exported.utt2spk, exported.segments) == (mono.text, mono.utt2spk, mono.segments)


def test_mixed_cuts_are_rendered_and_others_refused(data: DataDir, tmp_path: Path) -> None:
    cuts = to_lhotse(data).to_eager()
    mixed = cuts["ann-1"].pad(2.0).with_id("padded")
    fast = cuts["ben-2"].perturb_speed(1.25).with_id("fast")
    for cut, why in ((mixed, "mixed or padded"), (fast, "changed on the fly")):
        with pytest.raises(UserError, match=f"{why}.*--audio write"):
            from_lhotse([cut], tmp_path / "out")
    made = from_lhotse([mixed], tmp_path / "out", audio="write").data
    heard = audio.read(made.wav["padded"])
    assert np.allclose(heard, mixed.load_audio(), atol=2**-22) and made.text == {"padded": "one two"}


def test_an_utterance_for_each_supervision(data: DataDir, tmp_path: Path) -> None:
    cuts = to_lhotse(data).to_eager()
    recording = cuts["ann-1"].recording
    pieces = [cut.supervisions[0].with_offset(cut.start) for cut in cuts if cut.recording.id == "call"]
    call = lhotse.MonoCut("call", 0, 4.0, 0, pieces, recording=recording)
    made = from_lhotse([call], tmp_path / "each", per="supervision").data
    assert made.segments == {key: segment for key, segment in (data.segments or {}).items() if segment.recording == "call"}
    assert made.text == {key: data.text[key] for key in made.segments} and made.utt2label == data.utt2label
    whole = from_lhotse([call], tmp_path / "whole")
    assert whole.data.text == {"call": "one two łódź three"} and not whole.data.utt2spk
    assert whole.notes["several values of speaker: none is given"] == 1


def test_recordings_with_supervisions_and_what_is_no_manifest(data: DataDir, tmp_path: Path) -> None:
    recordings, supervisions, _ = to_lhotse(data.subset(["ben-2"])).decompose()
    recordings.to_file(tmp_path / "recordings.jsonl.gz")
    supervisions.to_file(tmp_path / "supervisions.jsonl.gz")
    words = [
        str(tmp_path / "recordings.jsonl.gz"),
        str(tmp_path / "out"),
        "--supervisions",
        str(tmp_path / "supervisions.jsonl.gz"),
    ]
    assert main(["lhotse", "from", *words]) == 0
    assert list(DataDir.read(tmp_path / "out").text.values()) == ["four"]
    with pytest.raises(UserError, match="holds SupervisionSet"):
        open_cuts(tmp_path / "supervisions.jsonl.gz")
    (tmp_path / "broken.jsonl").write_text("{")
    with pytest.raises(UserError, match="lhotse cannot read it"):
        open_cuts(tmp_path / "broken.jsonl")
    with pytest.raises(UserError, match="no such file"):
        open_cuts(tmp_path / "absent.jsonl")


def test_ids_that_clash_or_hold_spaces(data: DataDir, tmp_path: Path) -> None:
    cut = to_lhotse(data)[0]
    with pytest.raises(UserError, match="two utterances have the id"):
        from_lhotse([cut, cut], tmp_path / "out")
    with pytest.raises(UserError, match="modify_ids"):
        from_lhotse([cut.with_id("a b")], tmp_path / "out")
    with pytest.raises(UserError, match="no cuts"):
        from_lhotse([], tmp_path / "out")


def test_shar_is_written(data: DataDir, tmp_path: Path) -> None:
    assert main(["lhotse", "to", str(data.path), str(tmp_path / "shar"), "--shar", "3"]) == 0
    cuts = list(lhotse.CutSet.from_shar(in_dir=tmp_path / "shar"))
    assert [cut.id for cut in cuts] == data.ids()
    heard = audio.read(data.wav["call"], 0.25, 1.5)
    assert np.allclose(cuts[0].load_audio(), heard, atol=1e-4) and cuts[0].supervisions[0].custom == {"label": "yes"}
    with pytest.raises(UserError, match="is there already"):
        from sigssl.interop.lhotse import write_shar

        write_shar(to_lhotse(data), tmp_path / "shar")
