"""Montages: names are matched as the field writes them, by name alone, and what was taken is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from edf_files import Edf, Signal, noise

from sigssl.data.montage import Montage
from sigssl.data.psg import PSG, open_psg, read_signal
from sigssl.errors import UserError


def recording(path: Path, *labels: str, rates: dict[str, int] | None = None) -> PSG:
    rate = {label: (rates or {}).get(label, 100) for label in labels}
    signals = [Signal(label, noise(30, rate[label], i), rate[label]) for i, label in enumerate(labels)]
    return open_psg(Edf(signals).write(path / "a.edf"))


def test_every_shipped_montage_is_sound() -> None:
    for name in ("sleep_edf", "shhs", "isruc", "mass", "dreams", "hmc", "10-20"):
        assert len(Montage.read(name).names) >= 4
    with pytest.raises(UserError, match=r"no montage 'sleepedf'\. Did you mean 'sleep_edf'"):
        Montage.read("sleepedf")


@pytest.mark.parametrize("label", ["Fpz-Cz", "EEG Fpz-Cz", "eeg FPZ-CZ", "Fpz - Cz", "EEG Fpz-Cz."])
def test_case_spaces_and_prefix_do_not_count(label: str, tmp_path: Path) -> None:
    (pick,) = Montage.read("sleep_edf").select(["Fpz-Cz"]).pick(recording(tmp_path, "EMG", label))
    assert (pick.name, pick.source, pick.sign, pick.derived) == ("Fpz-Cz", label, 1, False)


def test_aliases_of_shhs_and_the_order_of_alternatives(tmp_path: Path) -> None:
    picks = Montage.read("shhs").select(["C4-M1", "C3-M2"]).pick(recording(tmp_path, "EEG(sec)", "ECG", "EEG", "EMG"))
    assert [pick.source for pick in picks] == ["EEG", "EEG(sec)"]
    (both,) = Montage.read("isruc").select(["C4-M1"]).pick(recording(tmp_path, "A1", "C4", "C4-A1"))
    assert (both.source, both.derived) == ("C4-A1", False)


def test_differences_are_computed_and_said(tmp_path: Path) -> None:
    psg = recording(tmp_path, "EEG C4", "M1", "M2", "Oz-Pz")
    montage = Montage(
        {
            "C4-M1": ["C4-A1", {"difference": ["C4", "M1"]}],
            "C4-M": [{"difference": ["C4", ["M1", "M2"]]}],
            "Pz-Oz": ["Pz-Oz", {"inverse": "Oz-Pz"}],
        }
    )
    picks = montage.pick(psg)
    assert [(pick.source, pick.sign, pick.derived) for pick in picks] == [
        ("EEG C4 - M1", 1, True),
        ("EEG C4 - (M1 + M2)/2", 1, True),
        ("-(Oz-Pz)", -1, False),
    ]
    c4, m1, m2, opposite = psg.read_many(["EEG C4", "M1", "M2", "Oz-Pz"])
    made = read_signal(psg, montage, highpass=None, lowpass=None)
    np.testing.assert_allclose(made.T, [c4 - m1, c4 - (m1 + m2) / 2, -opposite], atol=1e-3)


def test_nothing_fits_lists_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no channel for Fpz-Cz.*Did you mean 'EEG Fpz-C4'\? There are: EEG Fpz-C4, EMG"):
        Montage.read("sleep_edf").select(["Fpz-Cz"]).pick(recording(tmp_path, "EEG Fpz-C4", "EMG"))
    with pytest.raises(UserError, match=r"no channel 'Fpz'\. Did you mean 'Fpz-Cz'"):
        Montage.read("sleep_edf").select(["Fpz"])


def test_ambiguous_labels_are_an_error_and_an_index_settles_it(tmp_path: Path) -> None:
    psg = recording(tmp_path, "EEG Cz", "EEG Cz", "EOG")
    with pytest.raises(UserError, match="'Cz' may be any of EEG Cz#0, EEG Cz#1"):
        Montage.of(["Cz"]).pick(psg)
    (pick,) = Montage({"Cz": ["EEG Cz#1"]}).pick(psg)
    np.testing.assert_array_equal(psg.read(pick.plus), psg.read("EEG Cz#1"))
    twice = recording(tmp_path, "EEG Cz", "Cz")
    assert Montage.of(["Cz"]).pick(twice)[0].source == "Cz"  # what is written exactly so


def test_differences_of_unlike_rates_are_refused(tmp_path: Path) -> None:
    psg = recording(tmp_path, "C4", "M1", rates={"M1": 200})
    with pytest.raises(UserError, match="C4 - M1, which have"):
        Montage.read("10-20").select(["C4-M1"]).pick(psg)


def test_a_montage_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("Cz: [CZ-A1, {difference: [Cz, A1]}]\n")
    assert Montage.read(file).pick(recording(tmp_path, "cz-a1"))[0].source == "cz-a1"
    for text, message in (
        ("- a\n", "expected lines 'CHANNEL"),
        ("Cz: CZ-A1\n", "Cz: expected a list"),
        ("Cz: [{minus: [a, b]}]\n", "expected a label"),
        ("Cz: [{difference: [a]}]\n", "expected a label"),
        ("Cz: [\n", "not YAML"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=message):
            Montage.read(file)
    with pytest.raises(UserError, match="cannot be read"):
        Montage.read(tmp_path / "none.yaml")


def test_real_recordings(real_data: Callable[[str], Path]) -> None:
    sleep = real_data("sleep")
    psg = open_psg(sleep / "short_raw" / "edfio_short_psg.edf")
    assert [p.source for p in Montage.read("sleep_edf").pick(psg)] == ["EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal", "EMG submental"]
    dreams = open_psg(sleep / "dreams_spindles" / "excerpt3.edf")
    assert Montage.read("dreams").select(["central"]).pick(dreams)[0].rate == 50.0
    eegmmidb = open_psg(real_data("eeg_eegmmidb") / "S001R03.edf")
    assert Montage.of(["Fc5", "Cz"]).pick(eegmmidb)[1].source == "Cz.."
