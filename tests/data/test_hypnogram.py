"""Hypnograms: every kind of file gives the same stages; what is wrong is an error that says what."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from edf_files import Edf, Signal, annotations, hypnogram_edf, noise, tal
from hypothesis import given
from hypothesis import strategies as st

from sigssl.data.hypnogram import Bout, Hypnogram, from_bouts, mask, overlap, read_hypnogram, trim
from sigssl.data.stages import SLEEP, to_int
from sigssl.errors import UserError

NIGHT = ["W", "W", "N1", "N2", "N2", "N3", "N3", "R", "?", "W"]
BOUTS = [(0, 60, "W"), (60, 30, "N1"), (90, 60, "N2"), (150, 60, "N3"), (210, 30, "R"), (240, 30, "?"), (270, 30, "W")]
RK = {"W": "W", "N1": "1", "N2": "2", "N3": "4", "R": "R", "?": "?"}


def edf_rk(path: Path) -> Path:
    return hypnogram_edf(path / "SC4001EC-Hypnogram.edf", [(o, d, f"Sleep stage {RK[s]}") for o, d, s in BOUTS])


def edf_aasm(path: Path) -> Path:
    return hypnogram_edf(path / "night.edf", [(o, d, f"Sleep stage {s}") for o, d, s in BOUTS])


def edf_beside_signals(path: Path) -> Path:
    """Stages as a device writes them: an annotation per epoch, without duration, the first record at a fraction of a second."""
    records = [tal(0.5 + i) + (tal(0.5 + i, f"Sleep stage {NIGHT[i // 30]}") if i % 30 == 0 else b"") for i in range(300)]
    records[7] += tal(7.2, "Arousal", duration=3) + tal(7.5, "Lights off")
    return Edf([Signal("EEG", noise(300, 10), 10), annotations(records)], reserved="EDF+C").write(path / "night.rec")


def nsrr(path: Path) -> Path:
    concept = {"W": "Wake|0", "N1": "Stage 1 sleep|1", "N2": "Stage 2 sleep|2", "N3": "Stage 4 sleep|4", "R": "REM sleep|5"}
    event = "<EventType>{}</EventType><EventConcept>{}</EventConcept><Start>{}</Start><Duration>{}</Duration>"
    event = f"<ScoredEvent>{event}</ScoredEvent>"
    events = [event.format("", "Recording Start Time", 0, 300.0), event.format("Arousals|Arousals", "Arousal|Arousal ()", 12, 9)]
    events += [event.format("Stages|Stages", concept.get(s, "Unscored|9"), o, d) for o, d, s in reversed(BOUTS)]
    body = f"<EpochLength>30</EpochLength><ScoredEvents>{''.join(events)}</ScoredEvents>"
    (path / "n-nsrr.xml").write_text(f'<?xml version="1.0" encoding="UTF-8"?><PSGAnnotation>{body}</PSGAnnotation>')
    return path / "n-nsrr.xml"


def profusion(path: Path) -> Path:
    code = {"W": 0, "N1": 1, "N2": 2, "N3": 4, "R": 5, "?": 9}
    stages = "".join(f"<SleepStage>{code[s]}</SleepStage>" for s in NIGHT)
    text = f"<CMPStudyConfig><StepChannels/><SleepStages>{stages}</SleepStages><EpochLength>30</EpochLength></CMPStudyConfig>"
    (path / "p.xml").write_bytes(f'<?xml version="1.0" encoding="UTF-16"?>{text}'.encode("utf-16"))
    return path / "p.xml"


def isruc(path: Path) -> Path:
    code = {"W": 0, "N1": 1, "N2": 2, "N3": 3, "R": 5, "?": 9}
    (path / "12_1.txt").write_text("".join(f"{code[s]}\n" for s in NIGHT) + "\n\n")
    return path / "12_1.txt"


def per_line(path: Path) -> Path:
    (path / "stages.txt").write_bytes(b"\xef\xbb\xbf" + "".join(f"{s}\r\n" for s in NIGHT).encode())
    return path / "stages.txt"


def per_line_csv(path: Path) -> Path:
    (path / "stages.csv").write_text("epoch,stage\n" + "".join(f"{i},{s}\n" for i, s in enumerate(NIGHT)))
    return path / "stages.csv"


def browser(path: Path) -> Path:
    rows = "".join(f"{o:.4f},{d},Sleep stage {s}\n" for o, d, s in BOUTS)
    (path / "annotations.csv").write_text("Onset,Duration,Annotation\n" + rows)
    return path / "annotations.csv"


def usleep(path: Path) -> Path:
    (path / "night.ids").write_text("".join(f"{o},{d},{s.replace('R', 'REM')}\n" for o, d, s in BOUTS))
    return path / "night.ids"


def bids(path: Path) -> Path:
    rows = "".join(f"{o}\t{d}\tSleep stage {s}\tn/a\n" for o, d, s in BOUTS)
    (path / "sub-01_events.tsv").write_text("onset\tduration\ttrial_type\tvalue\n" + rows + "31.5\t2\tarousal\tn/a\n")
    return path / "sub-01_events.tsv"


SOURCES = [edf_rk, edf_aasm, edf_beside_signals, nsrr, profusion, isruc, per_line, per_line_csv, browser, usleep, bids]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_every_source_gives_the_same_stages(source: Callable[[Path], Path], tmp_path: Path) -> None:
    made = read_hypnogram(source(tmp_path))
    assert made.stages == NIGHT
    assert (made.onset, made.epoch, made.end) == (0.0, 30.0, 300.0)


@pytest.mark.parametrize("source", [edf_rk, browser, usleep, bids], ids=lambda source: source.__name__)
def test_onsets_are_honoured(source: Callable[[Path], Path], tmp_path: Path) -> None:
    file = source(tmp_path)
    assert read_hypnogram(file, start=45.0).onset == 45.0
    assert read_hypnogram(file, 15.0).stages == [stage for stage in NIGHT for _ in range(2)]
    with pytest.raises(UserError, match=r"does not fit epochs of 20 s|epochs of 30"):
        read_hypnogram(file, 20.0)


def test_the_starts_of_nsrr_files_are_honoured(tmp_path: Path) -> None:
    file = nsrr(tmp_path)
    late = file.read_text().replace("<Start>270</Start>", "<Start>330</Start>")
    file.write_text(late)
    made = read_hypnogram(file)
    assert made.stages == [*NIGHT[:-1], "?", "?", "W"]
    assert "stages end at 360 s, the recording as stated at 300 s" in made.notes
    with pytest.raises(UserError, match=r"states epochs of 30 s; 20 s asked for"):
        read_hypnogram(file, 20.0)


def test_unknown_labels_list_their_counts(tmp_path: Path) -> None:
    file = tmp_path / "stages.txt"
    file.write_text("W\nN1\nN2\nNN2\nNN2\n")
    with pytest.raises(UserError, match=r"'NN2' 2 times.*'W' 1"):
        read_hypnogram(file)
    misspelt = hypnogram_edf(tmp_path / "h.edf", [(0, 60, "Sleep stage W"), (60, 60, "Sleeb stage 2"), (120, 30, "Sleep stage R")])
    with pytest.raises(UserError, match="'Sleeb stage 2' 1 times"):  # an event that would leave a hole
        read_hypnogram(misspelt)
    covered = hypnogram_edf(tmp_path / "h.edf", [(0, 60, "Sleep stage W"), (0, 60, "Apnea")])
    assert read_hypnogram(covered).notes == ("1 annotations are no stages and left out",)
    with pytest.raises(UserError, match="no sleep stage among 1"):
        read_hypnogram(hypnogram_edf(tmp_path / "h.edf", [(0, 60, "Apnea")]))


def test_holes_and_remainders_are_counted() -> None:
    made = from_bouts([Bout(30.0, 30.0, "W"), Bout(120.0, 70.0, "N2")], 30.0, "here")
    assert made.stages == ["W", "?", "?", "N2", "N2"]
    assert made.onset == 30
    assert made.notes == ("2 epochs are in no bout and stay unscored", "the last 10 s are shorter than an epoch and left out")


def test_bouts_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(UserError, match=r"4 of 5 bouts are no multiple. All last a multiple of 20 s"):
        from_bouts([Bout(20 * i, 20, "W") for i in range(4)] + [Bout(80, 60, "R")], 30.0, "here")
    with pytest.raises(UserError, match="scored N2 and W"):
        from_bouts([Bout(0, 60, "W"), Bout(30, 60, "N2")], 30.0, "here")
    with pytest.raises(UserError, match="no sleep stage that lasts"):
        from_bouts([Bout(0, 0, "W")], 30.0, "here")
    with pytest.raises(UserError, match="which is no night"):
        from_bouts([Bout(0, 30, "W"), Bout(3e9, 30, "W")], 30.0, "here")


def test_times_of_day_need_the_start_and_pass_midnight(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(
        "Onset,Duration,Annotation\n23:59:30,30,Sleep stage W\n00:00:00,60,Sleep stage N1\n00:01:00,30,Sleep stage N2\n"
    )
    with pytest.raises(UserError, match=r"a\.csv:2: onset '23:59:30' is a time of day"):
        read_hypnogram(file)
    made = read_hypnogram(file, start=datetime(2020, 2, 1, 22, 59, 30))
    assert (made.onset, made.stages) == (3600.0, ["W", "N1", "N1", "N2"])
    late = read_hypnogram(file, start=datetime(2020, 2, 1, 23, 59, 0))
    assert late.onset == 30.0


def test_two_scorers_are_never_chosen_silently(tmp_path: Path) -> None:
    both = tmp_path / "both.csv"
    both.write_text("W,N1\nN1,N1\n")
    with pytest.raises(UserError, match=r"2 columns .* scorer \(1 to 2\)"):
        read_hypnogram(both)
    assert read_hypnogram(both, scorer=2).stages == ["N1", "N1"]
    with pytest.raises(UserError, match="is scorer 1's; scorer 2 asked for"):
        read_hypnogram(isruc(tmp_path), scorer=2)


def test_xml_with_a_document_type_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bomb.xml"
    entities = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    file.write_text(f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "ha">{entities}]><x>&a11;</x>')
    with pytest.raises(UserError, match="declares a document type"):
        read_hypnogram(file)
    file.write_text("<x><y></x>")
    with pytest.raises(UserError, match="not well-formed"):
        read_hypnogram(file)
    file.write_text("<x><y>1</y></x>")
    with pytest.raises(UserError, match="neither ScoredEvents"):
        read_hypnogram(file)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.txt", None, "no such hypnogram"),
        ("empty.txt", b"", r"is empty \(0 bytes\)"),
        ("blank.txt", b"\n\n", "no line with a stage"),
        ("picture.png", b"\x89PNG\0\0", "is no text"),
        ("a.csv", b"onset,duration,label\n0,30\n", r"a\.csv:2: 2 columns"),
        ("a.csv", b"onset,duration,label\n0,x,W\n", r"a\.csv:2: 'x' is no number"),
        ("a.csv", b"onset,duration,note\n0,30,W\n", "no column of stages"),
    ],
)
def test_what_is_no_hypnogram_says_why(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_hypnogram(tmp_path / name)


def test_trimming_goes_by_sleep_alone() -> None:
    night = Hypnogram(["W"] * 100 + ["?"] + ["W"] * 5 + ["N1", "W", "R"] + ["W"] * 20 + ["?"] * 60)
    made = trim(night, 30.0)
    assert made.onset == (106 - 60) * 30
    assert len(made) == 60 + 3 + 60
    assert made.notes == ("66 of 189 epochs left out: farther than 30 min from the first or last epoch of sleep",)
    awake = trim(Hypnogram(["W", "?"]), 30.0)
    assert awake.stages == ["W", "?"]
    assert awake.notes == ("no epoch of sleep, so nothing was trimmed",)


@given(st.lists(st.sampled_from(["W", "N1", "N2", "N3", "R", "?"]), min_size=1, max_size=300), st.integers(0, 60))
def test_trimming_keeps_all_sleep_and_no_more_wake_than_asked(stages: list[str], minutes: int) -> None:
    made = trim(Hypnogram(stages), float(minutes))
    assert [s for s in made.stages if s in SLEEP] == [s for s in stages if s in SLEEP]
    if any(s in SLEEP for s in stages):
        first = next(i for i, s in enumerate(made.stages) if s in SLEEP)
        assert first <= 2 * minutes
        assert stages[round(made.onset / 30) :][: len(made)] == made.stages


def test_cut_to_the_overlap_with_the_recording() -> None:
    night = Hypnogram(["W"] * 10, onset=-60.0)
    made = overlap(night, 200.0)
    assert (made.onset, len(made)) == (0.0, 6)
    assert made.notes == ("4 of 10 epochs left out: outside of the recording of 200 s",)
    assert "100 s of the recording are not in the hypnogram" in overlap(Hypnogram(["W"] * 10), 400.0).notes
    with pytest.raises(UserError, match="do the two belong together"):
        overlap(Hypnogram(["W"], onset=500.0), 400.0)


def test_epochs_that_touch_a_gap_are_unscored() -> None:
    made = mask(Hypnogram(["N2"] * 6, onset=30.0), [(89.0, 91.0), (170.0, 500.0)])
    assert made.stages == ["N2", "?", "?", "N2", "?", "?"]
    assert made.notes == ("4 epochs touch a gap of the recording and are unscored",)
    whole = Hypnogram(["N2"] * 2)
    assert mask(whole, []) == whole


def test_dreams_steps_become_epochs_by_majority(tmp_path: Path) -> None:
    file = tmp_path / "Hypnogram_excerpt1.txt"
    file.write_text("[Hypnogram]\n" + "\n".join("55555552222233322244410055") + "\n")
    made = read_hypnogram(file)
    assert made.stages == ["W", "N2", "N1", "R"]  # of equally many the one that comes first
    assert "the last 10 s are shorter" in made.notes[1]
    assert read_hypnogram(file, 10.0).stages[:3] == ["W", "W", "W"]
    with pytest.raises(UserError, match="no multiple of that"):
        read_hypnogram(file, 12.0)
    file.write_text("[Hypnogram]\n5\n8\n")
    with pytest.raises(UserError, match="'8' 1 times"):
        read_hypnogram(file)


def test_bouts_and_counts() -> None:
    night = Hypnogram(NIGHT, onset=10.0)
    assert [(b.onset - 10, b.duration, b.stage) for b in night.bouts()] == BOUTS
    assert night.counts() == {"W": 3, "N1": 1, "N2": 2, "N3": 2, "R": 1, "?": 1}


def test_the_real_nights_agree_with_labels_made_elsewhere(real_data: Callable[[str], Path]) -> None:
    """The cassette nights that both folders have, against the labels published with their band powers."""
    folder = real_data("sleep")
    agreed = 0
    for file in sorted((folder / "sleepedf_hypnograms").glob("*.edf")):
        made = trim(read_hypnogram(file))
        assert set(made.stages) <= {"W", "N1", "N2", "N3", "R", "?"}
        record = folder / "sleepedf_bandpower_sc153" / "records" / f"{file.name[:6]}.npz"
        if record.exists():
            with np.load(record) as stored:
                labels = stored["labels"]
            mine = to_int(made.stages)
            assert len(mine) == len(labels)  # the same trimming
            assert np.array_equal(mine[labels >= 0], labels[labels >= 0])
            agreed += 1
    assert agreed == 16


def test_real_dreams_hypnograms(real_data: Callable[[str], Path]) -> None:
    folder = real_data("sleep") / "dreams_spindles" / "annotations"
    for number in range(1, 7):
        made = read_hypnogram(folder / f"Hypnogram_excerpt{number}.txt")
        assert len(made) == 60
        assert not read_hypnogram(folder / f"Hypnogram_excerpt{number}.txt", 20.0).notes  # scored in epochs of 20 s
        assert json.dumps(made.counts())
