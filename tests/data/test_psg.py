"""Reading recordings: every pitfall of EDF as a file, and what the reader makes of it, beside MNE and edfio."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import mne
import numpy as np
import pytest
from edf_files import Edf, Signal, annotations, hypnogram_edf, noise, tal

from sigssl.data.psg import PSG, open_psg
from sigssl.errors import UserError

RAMP = np.arange(6000) % 1000


def scaled(signal: Signal, unit: float = 1.0) -> np.ndarray:
    """The microvolts that a signal stands for."""
    (low, high), (bottom, top) = signal.digital, signal.physical
    return ((np.asarray(signal.samples, dtype=float) - low) * (top - bottom) / (high - low) + bottom) * unit


def one(path: Path, **fields: object) -> tuple[Signal, Path]:
    signal = Signal("EEG Fpz-Cz", noise(60, 100), 100)
    for name in ("label", "unit", "physical", "digital"):
        if name in fields:
            setattr(signal, name, fields.pop(name))
    file = path / str(fields.pop("name", "a.edf"))
    return signal, Edf([signal], **fields).write(file)  # type: ignore[arg-type]


def all_of(psg: PSG) -> list[np.ndarray]:
    return psg.read_many([channel.name for channel in psg.channels])


def test_discontinuous_files_have_true_times(tmp_path: Path) -> None:
    """The case of the table: 60 records of a second, those from the 30th on a minute later, stages at 0 and 90 s."""
    signals = [Signal("EEG", noise(60, 100, 1), 100), Signal("EOG", noise(60, 50, 2), 50)]
    raw = [tal(i + 60 * (i >= 30)) + (tal(0, "Sleep stage W", duration=30) if i == 0 else b"") for i in range(60)]
    raw[30] += tal(90, "Sleep stage N2", duration=30)
    file = Edf([*signals, annotations(raw)], reserved="EDF+D").write(tmp_path / "d.edf")
    psg = open_psg(file)
    assert (psg.duration, psg.gaps) == (120.0, [(30.0, 90.0)])
    assert [note[::2] for note in psg.annotations] == [(0.0, "Sleep stage W"), (90.0, "Sleep stage N2")]
    eeg, eog = psg.read_many(["EEG", "EOG"])
    assert (len(eeg), len(eog)) == (12000, 6000)
    np.testing.assert_allclose(eeg[9000:], scaled(signals[0])[3000:], atol=1e-3)
    np.testing.assert_allclose(eog[:1500], scaled(signals[1])[:1500], atol=1e-3)
    assert not eeg[3000:9000].any()
    np.testing.assert_array_equal(psg.read("EEG", 25.5, 95.25), eeg[2550:9525])
    assert any("1 gaps of 60 s" in note for note in psg.notes)
    with pytest.raises(UserError, match=r"discontinuous \(EDF\+D\) with 1 gaps"):
        open_psg(file, discontinuous="refuse")


def test_a_file_marked_discontinuous_without_gaps_is_continuous(tmp_path: Path) -> None:
    signal = Signal("EEG", noise(60, 100), 100)
    file = Edf([signal, annotations([tal(0.25 + i) for i in range(60)])], reserved="EDF+D").write(tmp_path / "d.edf")
    psg = open_psg(file, discontinuous="refuse")
    assert (psg.duration, psg.gaps) == (60.0, [])
    np.testing.assert_allclose(psg.read("EEG"), scaled(signal), atol=1e-3)


@pytest.mark.parametrize(
    ("onsets", "message"),
    [
        ([b"", *(tal(i) for i in range(1, 60))], "record 0 does not say when it began"),
        ([tal(i if i < 30 else i - 10) for i in range(60)], "before the one ahead of it has ended"),
        ([tal(i if i < 30 else i + 1e6) for i in range(60)], "h are missing between"),
    ],
)
def test_discontinuous_files_without_sensible_times_are_refused(onsets: list[bytes], message: str, tmp_path: Path) -> None:
    file = Edf([Signal("EEG", noise(60, 100), 100), annotations(onsets)], reserved="EDF+D").write(tmp_path / "d.edf")
    with pytest.raises(UserError, match=message):
        open_psg(file)
    with pytest.raises(UserError, match="has no signal 'EDF Annotations'"):
        open_psg(one(tmp_path, reserved="EDF+D")[1])


def test_mixed_rates_stay_as_they_are(tmp_path: Path) -> None:
    signals = [Signal(f"S{rate}", noise(60, rate, rate), rate) for rate in (100, 1, 200)]
    signals.append(Signal("Temp rectal", np.full(60, 370), 1, unit="DegC"))
    psg = open_psg(Edf(signals).write(tmp_path / "a.edf"))
    assert [channel.rate for channel in psg.channels] == [100, 1, 200, 1]
    made = psg.read_many(["S200", "S1"], 10.0, 20.0)
    np.testing.assert_allclose(made[0], scaled(signals[2])[2000:4000], atol=1e-3)
    np.testing.assert_allclose(made[1], scaled(signals[1])[10:20], atol=1e-3)
    with pytest.raises(UserError, match="'DegC', which is no voltage"):
        psg.read("Temp rectal")


@pytest.mark.parametrize(
    ("unit", "scale"),
    [("uV", 1.0), ("UV", 1.0), ("mV", 1e3), ("V", 1e6), ("nV", 1e-3), (b"\xb5V", 1.0), ("µV".encode(), 1.0), ("μV".encode(), 1.0)],
)
def test_units_become_microvolts_and_are_kept(unit: str | bytes, scale: float, tmp_path: Path) -> None:
    signal, file = one(tmp_path, unit=unit)
    psg = open_psg(file)
    np.testing.assert_allclose(psg.read("EEG Fpz-Cz"), scaled(signal, scale), rtol=1e-5, atol=1e-3 * scale)
    assert psg.channels[0].unit == (unit if isinstance(unit, str) else unit.decode("utf-8" if len(unit) > 2 else "latin-1"))


def test_a_blank_unit_is_an_error_with_advice(tmp_path: Path) -> None:
    signal, file = one(tmp_path, unit="")
    with pytest.raises(UserError, match=r"does not say its unit.*--assume-unit"):
        open_psg(file).read("EEG Fpz-Cz")
    np.testing.assert_allclose(open_psg(file, assume_unit="mV").read("EEG Fpz-Cz"), scaled(signal, 1e3), rtol=1e-5, atol=1)
    with pytest.raises(UserError, match="expected uV, mV, V or nV"):
        open_psg(file, assume_unit="furlong")


def test_latin_1_labels_are_decoded_with_a_note(tmp_path: Path) -> None:
    psg = open_psg(one(tmp_path, label=b"EEG F\xfc\xdf")[1])
    assert psg.channels[0].name == "EEG Füß"
    assert psg.notes == ["labels are not ASCII or UTF-8; read as Latin-1"]


def test_duplicate_labels_are_told_apart_by_index(tmp_path: Path) -> None:
    signals = [Signal("EEG", noise(60, 100, i), 100) for i in range(2)] + [Signal("EOG", noise(60, 100), 100)]
    psg = open_psg(Edf(signals).write(tmp_path / "a.edf"))
    assert [channel.name for channel in psg.channels] == ["EEG#0", "EEG#1", "EOG"]
    np.testing.assert_allclose(psg.read("EEG#1"), scaled(signals[1]), atol=1e-3)
    with pytest.raises(UserError, match="2 channels are called 'EEG'; say which: EEG#0, EEG#1"):
        psg.read("EEG")
    with pytest.raises(UserError, match=r"no channel .EOGG.\. Did you mean 'EOG'"):
        psg.read("EOGG")


def test_an_unstated_number_of_records_follows_from_the_size(tmp_path: Path) -> None:
    signal, file = one(tmp_path, records=-1)
    psg = open_psg(file)
    assert psg.duration == 60.0
    assert psg.notes == ["number of data records not stated (-1); 60 by the size of the file"]
    np.testing.assert_allclose(psg.read("EEG Fpz-Cz"), scaled(signal), atol=1e-3)


def test_a_truncated_record_is_left_out_and_counted(tmp_path: Path) -> None:
    signal, file = one(tmp_path, cut=150)
    psg = open_psg(file)
    assert psg.duration == 59.0
    np.testing.assert_allclose(psg.read("EEG Fpz-Cz"), scaled(signal)[:5900], atol=1e-3)
    assert psg.notes[0] == "truncated: 60 data records declared, 59 are there"
    more = open_psg(one(tmp_path, records=50)[1])
    assert (more.duration, more.notes) == (50.0, ["60 data records are there, 50 declared; the rest is left out"])


def test_a_start_that_is_no_date_leaves_relative_times(tmp_path: Path) -> None:
    psg = open_psg(one(tmp_path, date="00.00.00")[1])
    assert psg.start is None
    assert "is no date; times count from the start" in psg.notes[0]
    assert open_psg(one(tmp_path, date="24.04.89", clock="16.13.00")[1]).start == datetime(1989, 4, 24, 16, 13)
    assert open_psg(one(tmp_path, date="01.02.84")[1]).start == datetime(2084, 2, 1, 22, 30)


@pytest.mark.parametrize("seconds", [60.0, 0.5, 0.1, 10.0])
def test_records_of_any_length(seconds: float, tmp_path: Path) -> None:
    """SC4362F0 of Sleep-EDF has records of 60 s."""
    signals = [Signal("EEG", noise(600, 100), round(100 * seconds)), Signal("EOG", noise(600, 50), round(50 * seconds))]
    psg = open_psg(Edf(signals, seconds=seconds).write(tmp_path / "a.edf"))
    assert [channel.rate for channel in psg.channels] == [100.0, 50.0]
    np.testing.assert_allclose(psg.read("EEG", 29.99, 90.01), scaled(signals[0])[2999:9001], atol=1e-3)
    blocks = list(psg.blocks(["EOG", "EEG"], 7.0, 3.0, 500.0))
    np.testing.assert_array_equal(np.concatenate([b[1] for b in blocks]), psg.read("EEG", 3.0, 500.0))


@pytest.mark.parametrize("name", ["night.REC", "night.edf+", "night", "night.EDF", "night.dat"])
def test_edf_is_edf_whatever_its_name(name: str, tmp_path: Path) -> None:
    signal, file = one(tmp_path, name=name)
    np.testing.assert_allclose(open_psg(file).read("EEG Fpz-Cz"), scaled(signal), atol=1e-3)


def test_bdf_with_24_bits(tmp_path: Path) -> None:
    samples = np.array([-8388608, 8388607, -1, 0, 1, 70000, -70000, 5] * 100)
    signal = Signal("EEG", samples, 80, physical=(-262144.0, 262143.0), digital=(-8388608, 8388607))
    psg = open_psg(Edf([signal, Signal("EOG", noise(10, 40), 40)], width=3).write(tmp_path / "a.bdf"))
    np.testing.assert_allclose(psg.read("EEG"), scaled(signal), rtol=1e-6, atol=1e-2)
    raw = mne.io.read_raw_bdf(tmp_path / "a.bdf", include=["EEG"], verbose="error")
    np.testing.assert_allclose(psg.read("EEG"), raw.get_data()[0] * 1e6, rtol=1e-5, atol=0.05)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.edf", None, "no such file"),
        ("empty.edf", b"", "empty"),
        ("short.edf", b"0       ", "shorter than any EDF header"),
        ("a.edf", b"RIFF" + bytes(300), "is no EDF or BDF file"),
        ("a.wav", b"RIFF" + bytes(300), "no recording that is known here"),
        ("a.fif", b"RIFF" + bytes(300), "MNE cannot read it"),
        ("a.vhdr", b"RIFF" + bytes(300), "MNE cannot read it"),
        ("a.set", b"RIFF" + bytes(300), "MNE cannot read it"),
    ],
)
def test_what_is_no_recording_says_why(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        open_psg(tmp_path / name)


def test_headers_beyond_repair_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="annotations but no signal"):
        open_psg(hypnogram_edf(tmp_path / "h.edf", [(0, 30, "Sleep stage W")]))
    with pytest.raises(UserError, match="no whole data record"):
        open_psg(one(tmp_path, cut=60 * 200)[1])
    with pytest.raises(UserError, match="truncated: ends within its header"):
        (tmp_path / "c.edf").write_bytes(one(tmp_path)[1].read_bytes()[:300])
        open_psg(tmp_path / "c.edf")
    for digital, physical in (((5, 5), (-1.0, 1.0)), ((-5, 5), (1.0, 1.0))):
        psg = open_psg(one(tmp_path, digital=digital, physical=physical)[1])
        with pytest.raises(UserError, match="has no scale"):
            psg.read("EEG Fpz-Cz")
    with pytest.raises(UserError, match="data records last 0 s"):
        open_psg(one(tmp_path, seconds=0)[1])
    with pytest.raises(UserError, match="would reach"):
        open_psg(one(tmp_path, physical=(-1e30, 1e30))[1]).read("EEG Fpz-Cz")


def test_annotations_in_latin_1_fractional_negative_and_damaged(tmp_path: Path) -> None:
    raw = [tal(0.5) + tal(-3.25, "früh", encoding="latin-1") + b"nonsense\0", tal(1.5) + tal(1.75, "a", "b", duration=0.5)]
    raw += [tal(0.5 + i) for i in range(2, 60)]
    file = Edf([Signal("EEG", noise(60, 100), 100), annotations(raw)], reserved="EDF+C").write(tmp_path / "a.edf")
    psg = open_psg(file)
    assert psg.annotations == [(-3.75, 0.0, "früh"), (1.25, 0.5, "a"), (1.25, 0.5, "b")]
    assert psg.notes == ["1 damaged annotations left out", "1 annotations are not UTF-8; read as Latin-1"]


def test_89_channels_and_one(tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    psg = open_psg(real_data("sleep") / "short_raw" / "rsleep_subject1_2min_89ch.edf")
    assert len(psg.channels) == 89
    volts = [channel.name for channel in psg.channels if channel.unit == "V"]
    raw = mne.io.read_raw_edf(psg.path, include=volts[:1], verbose="error")
    np.testing.assert_allclose(psg.read(volts[0]), raw.get_data()[0] * 1e6, rtol=1e-4, atol=0.05)
    assert [len(signal) for signal in psg.read_many(volts)] == [round(120 * psg.channel(name).rate) for name in volts]


@pytest.mark.parametrize(
    "name",
    ["sleep/short_raw/edfio_short_psg.edf", "sleep/short_raw/edfio_short_psg.bdf", "eeg_eegmmidb/S001R03.edf"],
)
def test_real_recordings_as_mne_reads_them(name: str, real_data: Callable[[str], Path]) -> None:
    folder, _, rest = name.partition("/")
    psg = open_psg(real_data(folder) / rest)
    names = [channel.name for channel in psg.channels if channel.unit == "uV" and channel.rate > 1][:4]
    reader = mne.io.read_raw_bdf if name.endswith("bdf") else mne.io.read_raw_edf
    expected = reader(psg.path, include=names, verbose="error").get_data() * 1e6
    np.testing.assert_allclose(np.stack(psg.read_many(names)), expected, rtol=1e-5, atol=1e-3)
    assert psg.start == reader(psg.path, verbose="error").info["meas_date"].replace(tzinfo=None)


def test_real_recordings_as_edfio_reads_them(real_data: Callable[[str], Path]) -> None:
    edfio = pytest.importorskip("edfio")
    for name in ("short_raw/mednick_example1_20min_5ch_300Hz.edf", "dreams_spindles/excerpt3.edf"):
        psg = open_psg(real_data("sleep") / name)
        reference = edfio.read_edf(psg.path)
        for channel in psg.channels[:3]:
            (expected,) = (signal for signal in reference.signals if signal.label == channel.name)
            factor = {"uv": 1.0, "mv": 1e3}[expected.physical_dimension.lower()]
            np.testing.assert_allclose(psg.read(channel.name), expected.data * factor, rtol=1e-5, atol=1e-3)


def test_fif_brainvision_and_eeglab_through_mne(tmp_path: Path) -> None:
    import eeglabio
    import pybv

    volts = noise(20, 100)[None] * 1e-7
    info = mne.create_info(["C4", "STATUS"], 100.0, ["eeg", "stim"])
    raw = mne.io.RawArray(np.concatenate([volts, volts * 0]), info, verbose="error")
    raw.set_annotations(mne.Annotations([5.0], [10.0], ["Sleep stage N2"]))
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    pybv.write_brainvision(
        data=volts, sfreq=100, ch_names=["C4"], fname_base="b", folder_out=str(tmp_path), unit="µV", resolution=1e-3
    )
    eeglabio.raw.export_set(str(tmp_path / "c.set"), volts, 100.0, ["C4"])
    for name in ("a_raw.fif", "b.vhdr", "c.set"):
        psg = open_psg(tmp_path / name)
        assert psg.duration == pytest.approx(20.0)
        np.testing.assert_allclose(psg.read("C4", 5.0, 15.0), volts[0, 500:1500] * 1e6, rtol=1e-4, atol=2e-3)
    fif = open_psg(tmp_path / "a_raw.fif")
    assert fif.annotations[0].onset == 5.0
    assert fif.annotations[0].text == "Sleep stage N2"
    assert all_of(fif)[0].dtype == np.float32
