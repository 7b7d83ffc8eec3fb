"""From recording to signal: MNE's own result, blocks, parts and gaps that change nothing, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mne
import numpy as np
import pytest
from edf_files import Edf, Signal, annotations, noise, tal

from sigssl.data.fir import design, filtered
from sigssl.data.psg import Conditioning, Montage, open_psg, read_signal, signal_blocks
from sigssl.data.signal import odd_scale
from sigssl.errors import UserError


def night(path: Path, rate: int = 200, seconds: int = 400) -> Path:
    signals = [Signal("EEG C4", noise(seconds, rate, 1), rate), Signal("EEG M1", noise(seconds, rate, 2), rate)]
    return Edf([*signals, Signal("EOG", noise(seconds, 128, 3), 128)]).write(path / "night.edf")


@pytest.mark.parametrize("edges", [(0.3, 35.0), (0.3, None), (None, 35.0), (0.5, 30.0)])
def test_taps_are_those_of_mne(edges: tuple[float | None, float | None]) -> None:
    expected = mne.filter.create_filter(None, 100.0, *edges, verbose="error")
    np.testing.assert_allclose(design(100.0, *edges), expected, atol=1e-12)


@pytest.mark.parametrize("edges", [(0.0, 35.0), (35.0, 0.3), (0.3, 50.0), (0.3, 60.0), (-1.0, 3.0)])
def test_filters_that_cannot_be_are_refused(edges: tuple[float, float]) -> None:
    with pytest.raises(UserError, match="0 < highpass < lowpass < 50"):
        design(100.0, *edges)


@pytest.mark.parametrize("count", [1, 2, 30, 550, 551, 552, 1101, 5000])
def test_blocks_of_any_size_are_filtered_alike(count: int) -> None:
    x = np.random.default_rng(count).standard_normal((2, count)).astype(np.float32)
    taps = design(100.0, 0.3, 35.0)
    expected = mne.filter.filter_data(x.astype(float), 100.0, 0.3, 35.0, verbose="error") if count > 551 else None
    whole = np.concatenate(list(filtered([x], taps)), axis=1)
    assert whole.shape == x.shape
    for size in (1, 7, 500, 1200) if count < 1000 else (500, 1200):
        parts = np.concatenate(list(filtered((x[:, i : i + size] for i in range(0, count, size)), taps)), axis=1)
        np.testing.assert_allclose(parts, whole, atol=2e-5)
    if expected is not None:
        np.testing.assert_allclose(whole, expected, atol=2e-5)


def test_a_real_recording_is_filtered_as_mne_does(real_data: Callable[[str], Path]) -> None:
    file = real_data("sleep") / "short_raw" / "edfio_short_psg.edf"
    raw = mne.io.read_raw_edf(file, include=["EEG Fpz-Cz", "EOG horizontal"], preload=True, verbose="error")
    expected = raw.filter(0.3, 35.0, picks="all", verbose="error").get_data().T * 1e6
    made = read_signal(open_psg(file), Montage.read("sleep_edf").select(["Fpz-Cz", "EOG"]))
    np.testing.assert_allclose(made, expected, atol=1e-3)


def test_another_rate_is_resampled_as_mne_does(real_data: Callable[[str], Path]) -> None:
    file = real_data("sleep") / "short_raw" / "mednick_example1_20min_5ch_300Hz.edf"
    raw = mne.io.read_raw_edf(file, include=["C3-A2"], preload=True, verbose="error").filter(
        0.3, 35.0, picks="all", verbose="error"
    )
    expected = raw.resample(100, method="polyphase", verbose="error").get_data().T * 1e6
    made = read_signal(open_psg(file), Montage.of(["C3-A2"]))
    assert made.shape == expected.shape
    assert np.abs(made - expected)[3000:-3000].max() < 0.02 * made.std()


def test_blocks_and_parts_equal_the_whole(tmp_path: Path) -> None:
    psg = open_psg(night(tmp_path))
    montage = Montage({"C4-M1": [{"difference": ["C4", "M1"]}], "EOG": ["EOG"]})
    whole = read_signal(psg, montage)
    assert whole.shape == (40000, 2)
    pieces = list(signal_blocks(psg, montage.pick(psg), seconds=17.3))
    assert len(pieces) > 10
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=2e-3)
    for start, end in [(0.0, 30.0), (60.0, 90.0), (213.0, 400.0), (399.0, None)]:
        part = read_signal(psg, montage, start=start, end=end)
        np.testing.assert_allclose(part, whole[round(start * 100) : None if end is None else round(end * 100)], atol=5e-3)


def test_rates_that_do_not_divide_give_every_row(tmp_path: Path) -> None:
    for rate in (101, 128, 257, 512):
        file = Edf([Signal("EEG", noise(95, rate), rate)]).write(tmp_path / "a.edf")
        psg = open_psg(file)
        assert len(read_signal(psg, Montage.of(["EEG"]))) == 9500
        assert len(read_signal(psg, Montage.of(["EEG"]), start=30.0, end=60.0)) == 3000
        assert sum(map(len, signal_blocks(psg, Montage.of(["EEG"]).pick(psg), seconds=7.7))) == 9500


def test_gaps_are_zero_and_their_edges_quiet(tmp_path: Path) -> None:
    """Each part is filtered by itself: nothing of it leaks into the gap, and nothing before the gap moves."""
    x = noise(120, 100) + 20000  # an offset that a filter across the gap would turn into a step
    onsets = [float(i) if i < 60 else i + 61.0 for i in range(120)]
    signals = [Signal("EEG", x, 100), annotations([tal(onset) for onset in onsets])]
    gapped = open_psg(Edf(signals, reserved="EDF+D").write(tmp_path / "gapped.edf"))
    assert gapped.gaps == [(60.0, 121.0)]
    made = read_signal(gapped, Montage.of(["EEG"]))
    assert made.shape == (18100, 1)
    assert not made[6000:12100].any()
    first = open_psg(Edf([Signal("EEG", x[:6000], 100)]).write(tmp_path / "first.edf"))
    np.testing.assert_allclose(made[:6000], read_signal(first, Montage.of(["EEG"])), atol=1e-3)
    second = open_psg(Edf([Signal("EEG", x[6000:], 100)]).write(tmp_path / "second.edf"))
    np.testing.assert_allclose(made[12100:], read_signal(second, Montage.of(["EEG"])), atol=1e-3)
    inside = read_signal(gapped, Montage.of(["EEG"]), start=90.0, end=150.0)
    np.testing.assert_allclose(inside, made[9000:15000], atol=1e-3)
    assert not read_signal(gapped, Montage.of(["EEG"]), start=70.0, end=80.0).any()


def test_nothing_is_upsampled_unasked(tmp_path: Path) -> None:
    psg = open_psg(Edf([Signal("EEG", noise(60, 64), 64)]).write(tmp_path / "a.edf"))
    with pytest.raises(UserError, match="64 samples per second, 100 asked for"):
        read_signal(psg, Montage.of(["EEG"]))
    assert len(read_signal(psg, Montage.of(["EEG"]), upsample=True)) == 6000
    assert read_signal(psg, Montage.of(["EEG"]), sample_rate=64.0, lowpass=None, highpass=None).shape == (3840, 1)


def test_a_part_outside_of_the_recording_is_refused(tmp_path: Path) -> None:
    psg = open_psg(night(tmp_path, seconds=40))
    with pytest.raises(UserError, match="outside of the recording, which lasts 40 s"):
        read_signal(psg, Montage.of(["EOG"]), start=40.0)
    blocks = signal_blocks(psg, Montage.of(["EOG"]).pick(psg), Conditioning(lowpass=None), start=10.0, end=9.0)
    with pytest.raises(UserError, match="outside"):
        next(blocks)


def test_odd_scales_are_told() -> None:
    assert [odd_scale(sd) for sd in (0.5, 20.0, 300.0)] == ["", "", ""]
    for sd, said in ((0.0, "flat"), (2e-5, "volts"), (0.02, "millivolts"), (20000.0, "raw counts")):
        assert said in odd_scale(sd)
