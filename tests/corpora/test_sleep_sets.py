"""Published trees of nights, made small: pairing by identifier, persons, trimming, what is set aside."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from sigssl.corpora import bids, dreams, edf, folder, hmc, isruc, mass, shhs, sleep_edf
from sigssl.data.datadir import DataDir
from sigssl.data.io import read_json
from sigssl.errors import UserError

pytest.importorskip("edfio")
RK = {
    "W": "Sleep stage W",
    "N1": "Sleep stage 1",
    "N2": "Sleep stage 2",
    "N3": "Sleep stage 4",
    "R": "Sleep stage R",
    "?": "Sleep stage ?",
}
NIGHT = ["W"] * 4 + ["N1", "N2", "N3", "N3", "R"] + ["W"] * 3
CODES = {"W": "0", "N1": "1", "N2": "2", "N3": "3", "R": "5"}


def signals(path: Path, seconds: float = 30.0 * len(NIGHT), labels: Sequence[str] = ("EEG Fpz-Cz",)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(0).normal(0, 20, (len(labels), round(seconds * 8)))
    edf.write_edf(path, labels, samples, 8.0)
    return path


def annotated(path: Path, stages: Sequence[str] = NIGHT, epoch: float = 30.0, names: dict[str, str] = RK) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    starts = itertools.count(0.0, epoch)
    edf.write_edf(path, [], np.zeros((0, 0)), 1.0, [(onset, epoch, names[s]) for s, onset in zip(stages, starts, strict=False)])
    return path


def nsrr(path: Path, stages: Sequence[str] = NIGHT) -> None:
    concept = {"W": "Wake|0", "N1": "Stage 1 sleep|1", "N2": "Stage 2 sleep|2", "N3": "Stage 3 sleep|3", "R": "REM sleep|5"}
    events = "".join(
        f"<ScoredEvent><EventType>Stages|Stages</EventType><EventConcept>{concept[s]}</EventConcept>"
        f"<Start>{30.0 * n}</Start><Duration>30.0</Duration></ScoredEvent>"
        for n, s in enumerate(stages)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<?xml version="1.0"?><PSGAnnotation><EpochLength>30</EpochLength><ScoredEvents>{events}</ScoredEvents></PSGAnnotation>'
    )


def tree_sleep_edf(root: Path) -> dict[str, Any]:
    for name, scorer in (("SC4001E", "C"), ("SC4002E", "H"), ("SC4011F", "C")):
        signals(root / f"sleep-cassette/{name}0-PSG.edf")
        annotated(root / f"sleep-cassette/{name}{scorer}-Hypnogram.edf")
    signals(root / "sleep-telemetry/ST7011J0-PSG.edf")
    annotated(root / "sleep-telemetry/ST7011JP-Hypnogram.edf")
    return {"all": {"SC4001": "SC400", "SC4002": "SC400", "SC4011": "SC401", "ST7011": "ST701"}}


def tree_shhs(root: Path) -> dict[str, Any]:
    for visit, person in (("shhs1", 200001), ("shhs1", 200002), ("shhs2", 200001)):
        signals(root / f"polysomnography/edfs/{visit}/{visit}-{person}.edf", labels=["EEG", "EEG(sec)"])
        nsrr(root / f"polysomnography/annotations-events-nsrr/{visit}/{visit}-{person}-nsrr.xml")
    one = {"200001-shhs1": "200001", "200002-shhs1": "200002"}
    two = {"200001-shhs2": "200001"}
    return {"all": one | two, "shhs1": one, "shhs2": two}


def tree_isruc(root: Path) -> dict[str, Any]:
    for place in ("subgroupI/8/8", "subgroupII/3/1/1", "subgroupII/3/2/2"):
        signals(root / f"{place}.edf").rename(root / f"{place}.rec")
        for scorer in (1, 2):
            codes = [CODES[s] for s in (NIGHT if scorer == 1 else ["W"] * len(NIGHT))]
            (root / f"{place}_{scorer}.txt").write_text("\n".join(codes) + "\n\n")
    one, two = {"isruc1_008-1": "isruc1_008"}, {f"isruc2_003-{n}": "isruc2_003" for n in (1, 2)}
    return {"all": one | two, "group1": one, "group2": two}


def tree_mass(root: Path) -> dict[str, Any]:
    for name, epoch in (("01-01-0001", 30.0), ("01-02-0001", 20.0), ("01-02-0002", 20.0)):
        signals(root / f"SS{name[4]}/{name} PSG.edf", epoch * len(NIGHT))
        annotated(root / f"SS{name[4]}/{name} Base.edf", epoch=epoch)
    return {"SS1": {"01_01_0001": "01_01_0001"}, "SS2": {f"01_02_000{n}": f"01_02_000{n}" for n in (1, 2)}}


def tree_hmc(root: Path) -> dict[str, Any]:
    aasm = {s: f"Sleep stage {s}" for s in RK}
    for name in ("SN001", "SN010"):
        signals(root / f"recordings/{name}.edf")
        annotated(root / f"recordings/{name}_sleepscoring.edf", names=aasm)
    return {"all": {"SN001": "SN001", "SN010": "SN010"}}


def tree_bids(root: Path) -> dict[str, Any]:
    for base in ("sub-01/eeg/sub-01_task-sleep", "sub-02/ses-1/eeg/sub-02_ses-1_task-sleep"):
        signals(root / f"{base}_eeg.edf")
        rows = "".join(f"{30 * n}\t30\t{RK[s]}\n" for n, s in enumerate(NIGHT))
        (root / f"{base}_events.tsv").write_text("onset\tduration\ttrial_type\n" + rows)
    signals(root / "sub-01/eeg/sub-01_task-rest_eeg.edf")
    return {"all": {"01-task-sleep": "01", "02-ses-1_task-sleep": "02"}}


def tree_dreams(root: Path) -> dict[str, Any]:
    for name in ("excerpt1", "excerpt2"):
        signals(root / f"{name}.edf")
        code = {"W": 5, "R": 4, "N1": 3, "N2": 2, "N3": 0}
        lines = [str(code[s]) for s in NIGHT for _ in range(6)]
        (root / f"Hypnogram_{name}.txt").write_text("[Hypnogram]\n" + "\n".join(lines) + "\n")
    return {"all": {"excerpt1": "excerpt1", "excerpt2": "excerpt2"}}


def tree_folder(root: Path) -> dict[str, Any]:
    signals(root / "anna/night1.edf")
    annotated(root / "anna/night1-Hypnogram.edf")
    signals(root / "anna/night10_PSG.edf")
    (root / "scores").mkdir()
    (root / "scores/night10.csv").write_text("onset,duration,label\n" + "".join(f"{30 * n},30,{s}\n" for n, s in enumerate(NIGHT)))
    return {"all": {"anna-anna_night1": "anna", "anna-anna_night10_PSG": "anna"}}


CASES: list[tuple[ModuleType, Callable[[Path], dict[str, Any]], dict[str, Any]]] = [
    (sleep_edf, tree_sleep_edf, {}),
    (shhs, tree_shhs, {}),
    (isruc, tree_isruc, {"scorer": 1}),
    (mass, tree_mass, {}),
    (hmc, tree_hmc, {}),
    (bids, tree_bids, {"task": "sleep"}),
    (dreams, tree_dreams, {}),
    (folder, tree_folder, {}),
]


@pytest.mark.parametrize(("corpus", "tree", "options"), CASES, ids=[case[0].__name__.rsplit(".", 1)[-1] for case in CASES])
def test_every_tree_gives_the_same_nights(
    corpus: ModuleType, tree: Callable[..., Any], options: dict[str, Any], tmp_path: Path
) -> None:
    wanted = tree(tmp_path / "root")
    made = corpus.prepare(tmp_path / "root", tmp_path / "out", **options)
    assert {part: directory.utt2spk for part, directory in made.items()} == wanted
    for part in made:
        back = DataDir.read(tmp_path / "out" / part)
        assert back.stages == dict.fromkeys(wanted[part], NIGHT)
        epoch = 20.0 if part == "SS2" else 30.0
        assert back.epoch_length == epoch
        ids = back.ids()
        assert ids == sorted(ids, key=lambda key: (back.utt2spk[key], key))
        for utterance in back.utterances():
            assert Path(utterance.path).exists()
            assert (utterance.start, utterance.end) == (0.0, epoch * len(NIGHT))
        counts = read_json(tmp_path / "out" / part / "nights.json")
        assert counts["nights"] == len(wanted[part]) and counts["epochs"]["N3"] == 2 * len(ids) and counts["set_aside"] == 0


def test_a_missing_partner_shifts_nothing(tmp_path: Path) -> None:
    tree_sleep_edf(tmp_path / "root")
    (tmp_path / "root/sleep-cassette/SC4001EC-Hypnogram.edf").unlink()
    (tmp_path / "root/sleep-cassette/SC4011F0-PSG.edf").unlink()
    signals(tmp_path / "root/sleep-telemetry/ST7021J0-PSG.edf", 60.0)
    annotated(tmp_path / "root/sleep-telemetry/ST7021JP-Hypnogram.edf").write_bytes(b"broken")
    made = sleep_edf.prepare(tmp_path / "root", tmp_path / "out")["all"]
    assert made.ids() == ["SC4002", "ST7011"] and Path(made.wav["SC4002"]).name == "SC4002E0-PSG.edf"
    lines = (tmp_path / "out/all/quarantine.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["SC4001", "SC4011", "ST7021"]
    assert "no hypnogram with the identifier SC4001" in lines[0] and "no recording with" in lines[1]
    (tmp_path / "root/sleep-cassette/SC4002EJ-Hypnogram.edf").write_bytes(b"")
    made = sleep_edf.prepare(tmp_path / "root", tmp_path / "out")["all"]
    assert made.ids() == ["ST7011"]
    assert "2 files of one night" in (tmp_path / "out/all/quarantine.tsv").read_text()
    (tmp_path / "root/sleep-telemetry/ST7011J0-PSG.edf").unlink()
    with pytest.raises(UserError, match="none of 1 nights can be used"):
        sleep_edf.prepare(tmp_path / "root", tmp_path / "out")


def test_trimming_keeps_what_is_near_to_sleep(tmp_path: Path) -> None:
    signals(tmp_path / "SC4001E0-PSG.edf", 30.0 * 200)
    scored = ["?"] * 5 + ["W"] * 75 + ["N2", "W", "R"] + ["W"] * 70 + ["?"] * 90
    annotated(tmp_path / "SC4001EC-Hypnogram.edf", scored)
    made = sleep_edf.prepare(tmp_path, tmp_path / "out")["all"]
    assert made.segments is not None and made.segments["SC4001"][1:] == (20 * 30.0, 143 * 30.0)
    assert made.stages["SC4001"] == scored[20:143] and made.utt2dur["SC4001"] == 123 * 30.0
    notes = " ".join(read_json(tmp_path / "out/all/nights.json")["notes"]["SC4001"])
    assert "43 of 243 epochs left out: outside of the recording" in notes and "77 of 200 epochs left out: farther than 30" in notes
    whole = sleep_edf.prepare(tmp_path, tmp_path / "whole", minutes=-1.0)["all"]
    assert whole.stages["SC4001"] == scored[:200]


def test_nights_without_a_hypnogram_are_kept_unscored(tmp_path: Path) -> None:
    tree_folder(tmp_path / "root")
    signals(tmp_path / "root/ben/a.edf", 60.0)
    made = folder.prepare(tmp_path / "root", tmp_path / "out")["all"]
    assert "ben-ben_a" in made.ids() and "ben-ben_a" not in made.stages and made.utt2dur["ben-ben_a"] == 60.0
    annotated(tmp_path / "root/anna/night1_events.edf")
    with pytest.raises(UserError, match="2 hypnograms could be its own"):
        folder.prepare(tmp_path / "root", tmp_path / "out")
    (tmp_path / "root/a.wav").touch()
    with pytest.raises(UserError, match=r"holds audio .* and nights"):
        folder.prepare(tmp_path / "root", tmp_path / "out")


def test_real_excerpts(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    root = real_data("sleep/dreams_spindles")
    made = dreams.prepare(root, tmp_path)["all"]
    assert made.ids() == [f"excerpt{n}" for n in range(1, 7)] and Path(made.wav["excerpt3"]) == root / "excerpt3.edf"
    assert {len(stages) for stages in made.stages.values()} == {60}
    import edfio

    (signal,) = edfio.read_edf(made.wav["excerpt6"]).signals
    arrays = np.load(root / "excerpt6.npz")
    assert signal.sampling_frequency == arrays["fs"] and signal.label == "CZ-A1" and signal.physical_dimension == "uV"
    assert np.abs(signal.data[: len(arrays["signal_uV"])] - arrays["signal_uV"]).max() < 0.05
    fine = dreams.prepare(root, tmp_path, epoch=5.0)["all"]
    assert fine.epoch_length == 5.0 and fine.stages["excerpt1"].count("W") == 56


@pytest.mark.parametrize(
    ("corpus", "options", "message"),
    [
        (isruc, {}, "give --scorer 1 or --scorer 2"),
        (mass, {"subsets": "SS6"}, "no subset 'SS6'"),
        (shhs, {"hypnograms": "x"}, "expected nsrr or profusion"),
        (sleep_edf, {"study": "x"}, "study 'x'"),
        (sleep_edf, {}, "no files such as SC4001E0-PSG.edf"),
        (hmc, {}, "no files such as SN001.edf"),
        (bids, {}, "no runs such as"),
        (dreams, {}, "no files such as excerpt1.edf"),
        (folder, {}, "no recordings below it"),
        (sleep_edf, {"download": True, "people": "a"}, "expected numbers joined by commas"),
    ],
)
def test_nothing_to_prepare(corpus: ModuleType, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        corpus.prepare(tmp_path, tmp_path / "out", **options)
