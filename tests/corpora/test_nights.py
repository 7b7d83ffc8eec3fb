"""Synthetic nights: the model of stages, the band powers, the signals' shape, and files as Sleep-EDF's."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigssl.corpora import synthetic_psg
from sigssl.corpora.nights import background, bands, dynamics, edf, events, night
from sigssl.data.datadir import DataDir
from sigssl.data.hypnogram import read_hypnogram
from sigssl.errors import UserError

STATISTICS = night.statistics()


def states(path: Path) -> list[str]:
    """The R&K states of one of Sleep-EDF's hypnograms, per epoch."""
    edfio = pytest.importorskip("edfio")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bouts = edfio.read_edf(path).annotations
    names = {"Movement time": "M"}
    return [s for b in bouts for s in [names.get(b.text, b.text.removeprefix("Sleep stage "))] * int(b.duration // 30)]


def test_fit_counts_what_follows_what() -> None:
    made = dynamics.fit([list("WW1122RR22W?"), list("W2?2W")])
    assert made["nights"] == 2 and made["bouts"] == 6  # the `?` between counts for nothing
    at = {name: n for n, name in enumerate(made["states"])}
    first = np.array(made["transitions"])[at["1"], 0, dynamics.phase(0.0, dynamics.NEVER)]
    assert first[at["2"]] == 1.0 and first.sum() == 1.0
    assert np.allclose(np.array(made["transitions"]).sum(-1), 1.0, atol=1e-3)
    assert made["lengths"][at["R"]][0][0] == made["lengths"][at["R"]][0][-1] == 2.0
    with pytest.raises(UserError, match="no hypnogram with sleep"):
        dynamics.fit([list("WWW?")])


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 400), st.integers(0, 2**32), st.sampled_from([1.0, 2.5, 20.0]))
def test_drawn_nights_are_as_long_as_asked(epochs: int, seed: int, speed: float) -> None:
    made = dynamics.draw(STATISTICS["dynamics"], epochs, np.random.default_rng(seed), speed)
    assert len(made) == epochs and made[0] == "1" and set(made) <= set(dynamics.STATES)


def test_drawn_nights_are_like_real_ones(real_data: Callable[[str], Path]) -> None:
    real = [states(path) for path in sorted(real_data("sleep/sleepedf_hypnograms").glob("*.edf"))]
    fitted = dynamics.fit(real)
    assert fitted == STATISTICS["dynamics"], "the statistics in the package are those of the 32 hypnograms"
    rng = np.random.default_rng(0)
    drawn = [dynamics.draw(fitted, 930, rng) for _ in range(100)]
    periods = [[state for state, length in dynamics.bouts(n) for _ in range(length)] for n in real]
    for state, slack in {"W": 0.03, "1": 0.02, "2": 0.05, "3": 0.03, "4": 0.03, "R": 0.04}.items():
        shares = [np.mean([np.mean(np.array(n) == state) for n in some]) for some in (periods, drawn)]
        assert shares[1] == pytest.approx(shares[0], abs=slack), state
    deep = [np.mean([np.isin(np.array_split(np.array(n), 4)[q], ["3", "4"]).mean() for n in drawn]) for q in (0, 3)]
    dreams = [np.mean([(np.array_split(np.array(n), 4)[q] == "R").mean() for n in drawn]) for q in (0, 3)]
    assert deep[0] > 2 * deep[1] and dreams[1] > 2 * dreams[0]


def test_fit_of_bands_finds_what_was_drawn() -> None:
    rng = np.random.default_rng(0)
    labels = [np.repeat(np.arange(5), 60) for _ in range(40)]
    people = [bands.draw_person(STATISTICS["bands"], rng) for _ in range(20)]
    values = [bands.draw_night(STATISTICS["bands"], people[n // 2], labels[n], rng) for n in range(40)]
    again = bands.fit(values, labels, [str(n // 2) for n in range(40)])
    assert np.abs(np.array(again["mean"]) - STATISTICS["bands"]["mean"]).mean() < 0.2
    assert again["persistence"] == pytest.approx(STATISTICS["bands"]["persistence"], abs=0.15)
    drawn, wanted = (bands.root(s["epoch"][0]) @ bands.root(s["epoch"][0]).T for s in (again, STATISTICS["bands"]))
    assert np.corrcoef(drawn.ravel(), wanted.ravel())[0, 1] > 0.9
    with pytest.raises(UserError, match="stage 4"):
        bands.fit(values, [np.minimum(label, 3) for label in labels], ["a"] * 40)


def test_statistics_of_bands_are_those_of_the_real_nights(real_data: Callable[[str], Path]) -> None:
    folder = real_data("sleep/sleepedf_bandpower_sc153")
    with (folder / "records.csv").open() as file:
        rows = list(csv.DictReader(file))[:40]
    found = [np.load(folder / row["path"]) for row in rows]
    values = [z["features"][:, :, :5].reshape(-1, 15).astype(float) for z in found]
    made = bands.fit(values, [z["labels"] for z in found], [row["subject"] for row in rows])
    assert np.corrcoef(np.ravel(made["mean"]), np.ravel(STATISTICS["bands"]["mean"]))[0, 1] > 0.98


def test_noise_has_the_band_powers_asked_for() -> None:
    rng = np.random.default_rng(0)
    powers = rng.uniform(1, 100, (30, 5))
    density = background.spectra(powers, 10.0, np.full(30, 3.0), 2.0)
    samples = 30 * 3000
    made = background.sound(density, background.sources(samples, rng)[0], np.zeros(31), samples)
    f = background.FREQUENCIES
    inside = [(density[:, (f >= a) & (f < b)].sum(1) * 0.25) for a, b in bands.BANDS.values()]
    assert np.stack(inside, 1) == pytest.approx(powers, rel=0.2)
    ratio = background.band_powers(made, 30) / powers
    assert np.median(ratio, axis=0) == pytest.approx(1.0, abs=0.25)


def test_stages_look_as_they_should() -> None:
    traits = night.person(0, 3)
    stages = np.repeat([0, 1, 2, 3, 4], 40)
    drawn = events.draw(stages, np.full(200, 0.5), traits, np.random.default_rng(0))
    power = background.band_powers(drawn[0], 200).reshape(5, 40, 5).mean(1)
    assert power[:, 0].argmax() == 3, "slow waves in N3"
    assert power[2, 3] > 3 * max(power[0, 3], power[1, 3], power[4, 3]), "spindles in N2"
    eyes = np.percentile(np.abs(np.diff(drawn[2], prepend=0)).reshape(5, -1), 99.8, axis=1)
    assert min(eyes[0], eyes[4]) > 2 * max(eyes[2], eyes[3]), "eyes move in wake and REM sleep"


def test_recordings_are_laid_out_as_sleep_edf(tmp_path: Path, check: Callable[..., None]) -> None:
    mne = pytest.importorskip("mne")
    made = synthetic_psg.prepare(None, tmp_path / "a", nights=3, subjects=2, hours=0.25, nj=1)["all"]
    assert made.ids() == ["SC4001", "SC4002", "SC4011"] and set(made.utt2spk.values()) == {"SC400", "SC401"}
    psg = Path(made.wav["SC4001"])
    assert psg.name[:6] == "SC4001" and psg.name.endswith("0-PSG.edf")
    header = psg.read_bytes()[:2048]
    assert header[192:236].strip() == b"" and header[244:252].strip() == b"30", "plain EDF, records of 30 s"
    raw = mne.io.read_raw_edf(psg, verbose="error")
    assert raw.ch_names == list(edf.CHANNELS) and raw.n_times == 15 * 60 * 100
    (scored,) = psg.parent.glob("SC4001*-Hypnogram.edf")
    notes = mne.read_annotations(scored)
    assert notes.onset[0] == 0 and notes.description[0] == "Sleep stage W" and notes.description[-1] == "Sleep stage ?"
    assert notes.duration.sum() == 900 and set(notes.duration % 30) == {0.0}
    assert read_hypnogram(scored).stages[: len(made.stages["SC4001"])] == made.stages["SC4001"]
    assert DataDir.read(tmp_path / "a/all").stages == made.stages


def test_same_options_same_bytes_and_nothing_is_made_twice(tmp_path: Path) -> None:
    pytest.importorskip("edfio")
    one, two = (synthetic_psg.prepare(None, tmp_path / name, nights=2, hours=0.2, nj=1)["all"] for name in "ab")
    files = [sorted(Path(d.wav["SC4001"]).parent.glob("SC*")) for d in (one, two)]
    assert [p.read_bytes() for p in files[0]] == [p.read_bytes() for p in files[1]] and len(files[0]) == 4
    times = [p.stat().st_mtime_ns for p in files[0]]
    files[0][0].unlink()  # of the first night
    synthetic_psg.prepare(None, tmp_path / "a", nights=2, hours=0.2, nj=1)
    assert files[0][0].read_bytes() == files[1][0].read_bytes()
    assert [p.stat().st_mtime_ns for p in files[0]][2:] == times[2:]
    other = synthetic_psg.prepare(None, tmp_path / "a", nights=1, hours=0.2, seed=1, nj=1)["all"]
    assert len(list(Path(other.wav["SC4001"]).parent.glob("SC*"))) == 2, "nights of the other run are gone"


@pytest.mark.parametrize("options", [{"nights": 0}, {"hours": 0.1}, {"subjects": 5, "nights": 4}, {"nights": 20, "subjects": 2}])
def test_impossible_numbers(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(UserError, match="expected 1 to 100 subjects"):
        synthetic_psg.prepare(None, tmp_path, **options)
