"""Staging one recording: channels, windows, warnings, gaps, references, and streaming against the whole night."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from edf_files import Edf, Signal, annotations, noise, tal
from sleep_stagers import CHANNELS, make_stager, recording

from sigssl.data.hypnogram import Hypnogram
from sigssl.downstream.fronts import EncoderFront
from sigssl.downstream.sequence_head import SequenceHead
from sigssl.downstream.stager import Stager
from sigssl.downstream.staging import (
    StagingSettings,
    aligned,
    find_montage,
    moment,
    precision_of,
    probabilities_of,
    stage_recording,
    touched_epochs,
)
from sigssl.errors import UserError
from sigssl.methods import NeuroNetEncoder

STAGER = make_stager()
PLAIN = StagingSettings()


def test_a_recording_is_staged_epoch_by_epoch(tmp_path: Path) -> None:
    night = stage_recording(recording(tmp_path / "a.edf"), STAGER, PLAIN)
    assert night.probabilities.shape == (40, 5) and np.allclose(night.probabilities.sum(1), 1, atol=1e-5)
    assert night.start == datetime(2020, 2, 1, 22, 30) and night.name == "a" and not night.warnings
    assert [row["source"] for row in night.channels] == list(CHANNELS)
    assert night.spectrogram is not None and night.spectrogram.power.shape[0] == 40 and night.spectrogram.channel == "Fpz-Cz"


def test_streaming_equals_the_whole_night() -> None:
    causal = make_stager("mamba")
    signal = np.stack([noise(1200, 100, seed) * np.float32(0.1) for seed in range(3)], 1).astype(np.float32)
    parallel, streamed = probabilities_of(causal, signal, False), probabilities_of(causal, signal, True)
    assert parallel.shape == streamed.shape == (40, 5)
    assert np.allclose(parallel, streamed, atol=2e-5)
    assert np.ptp(parallel, axis=0).max() > 1e-3  # the comparison is of something
    shortened = probabilities_of(causal, signal[:30000], True)
    assert np.allclose(shortened, streamed[:10], atol=1e-6)  # no epoch needs the future
    with pytest.raises(UserError, match="whole night"):
        probabilities_of(STAGER, signal, True)


def test_an_encoder_stages_in_bfloat16_where_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    encoder = NeuroNetEncoder(hop_seconds=1.5, widths=[8, 8, 8, 8], token_dim=16, dim=32, heads=2, depth=1)
    stager = Stager(EncoderFront(encoder, ["Fpz-Cz"]), SequenceHead(32, "bigru", dim=8, layers=1)).eval()
    path = recording(tmp_path / "a.edf")
    exact, fast = (stage_recording(path, stager, StagingSettings(precision=p)) for p in ("32-true", "bf16-mixed"))
    assert (exact.settings["precision"], fast.settings["precision"]) == ("32-true", "bf16-mixed")
    assert 0 < np.abs(exact.probabilities - fast.probabilities).max() < 0.02
    assert fast.probabilities.dtype == np.float32 and np.allclose(fast.probabilities.sum(1), 1, atol=1e-5)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert precision_of(stager, PLAIN) == "bf16-mixed"
    assert precision_of(stager, StagingSettings(causal=True)) == precision_of(STAGER, PLAIN) == "32-true"


def test_gaps_and_dead_signals_are_unscored(tmp_path: Path) -> None:
    onsets = [*range(300), *range(345, 945)]
    signals = [Signal(label, noise(900, 100, seed), 100) for seed, label in enumerate(CHANNELS)]
    for signal in signals:
        signal.samples[60000:66000] = 0  # type: ignore[index]
    path = Edf([*signals, annotations([tal(onset) for onset in onsets])], reserved="EDF+D").write(tmp_path / "d.edf")
    night = stage_recording(path, STAGER, PLAIN)
    unscored = [k for k, stage in enumerate(night.stages) if stage == "?"]
    assert unscored == [10, 11, 22, 23] or set(unscored) >= {10, 11, 22}
    assert any("gap" in told for told in night.warnings) and any("no signal" in told for told in night.warnings)
    with pytest.raises(UserError):
        stage_recording(path, STAGER, StagingSettings(discontinuous="refuse"))
    assert touched_epochs([(30.0, 31.0), (89.0, 91.0)], 4, 30.0).tolist() == [False, True, True, True]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"minutes": 4.0}, "less than 5 minutes"),
        ({"rate": 70}, "70 Hz, fewer than 80"),
        ({"unit": "nV"}, "millivolts"),
        ({"unit": "V", "scale": 300.0}, "nanovolts"),
        ({"scale": 3000.0}, "check electrode"),
    ],
)
def test_what_a_reader_is_warned_of(tmp_path: Path, how: dict[str, object], said: str) -> None:
    night = stage_recording(recording(tmp_path / "a.edf", **{"minutes": 6.0, **how}), STAGER, PLAIN)  # type: ignore[arg-type]
    assert any(said in told for told in night.warnings), night.warnings


def test_what_cannot_be_staged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no channel for Pz-Oz"):
        stage_recording(recording(tmp_path / "a.edf", 2.0, labels=("EEG Fpz-Cz", "C4-M1", "EOG horizontal")), STAGER, PLAIN)
    with pytest.raises(UserError, match="less than one epoch"):
        stage_recording(recording(tmp_path / "b.edf", 0.4), STAGER, PLAIN)
    with pytest.raises(UserError, match="50"):
        stage_recording(recording(tmp_path / "c.edf", 2.0, rate=50), STAGER, PLAIN)
    with pytest.raises(UserError, match="unit"):
        stage_recording(recording(tmp_path / "d.edf", 2.0, unit=""), STAGER, PLAIN)
    assert stage_recording(tmp_path / "d.edf", STAGER, StagingSettings(assume_unit="uV")).stages


def test_microvolts_and_volts_give_the_same_stages(tmp_path: Path) -> None:
    samples = [noise(600, 100, seed) for seed in range(3)]
    files = []
    for unit, factor in (("uV", 1.0), ("mV", 1e-3)):
        signals = [Signal(n, x, 100, unit, (-3276.8 * factor, 3276.7 * factor)) for n, x in zip(CHANNELS, samples, strict=True)]
        files.append(Edf(signals).write(tmp_path / f"{unit}.edf"))
    one, other = (stage_recording(path, STAGER, PLAIN).probabilities for path in files)
    assert np.allclose(one, other, atol=1e-4)


def test_the_window_is_between_the_lights_where_they_are_known(tmp_path: Path) -> None:
    noted = recording(tmp_path / "a.edf", notes=((95.0, "Lights Off"), (905.0, "lights on")))
    window = stage_recording(noted, STAGER, PLAIN).window
    assert (window.first, window.stop, window.rule) == (4, 30, "lights off to lights on")
    plain = recording(tmp_path / "b.edf")
    assert stage_recording(plain, STAGER, PLAIN).window.rule == "the whole recording"
    given = stage_recording(plain, STAGER, StagingSettings(lights_off="22:35", lights_on="1080")).window
    assert (given.first, given.stop) == (10, 36)
    assert stage_recording(noted, STAGER, StagingSettings(window="recording")).window.stop == 40
    with pytest.raises(UserError, match="notes no lights"):
        stage_recording(plain, STAGER, StagingSettings(window="lights"))
    with pytest.raises(UserError, match="no epoch lies between"):
        stage_recording(plain, STAGER, StagingSettings(lights_off="600", lights_on="300"))


def test_moments() -> None:
    start = datetime(2020, 1, 1, 22, 30)
    assert moment("90.5", None, "x") == 90.5
    assert moment("22:31:10", start, "x") == 70
    assert moment("06:00", start, "x") == 7.5 * 3600  # the next morning
    for text, when in (("25:00", start), ("ten", start), ("06:00", None)):
        with pytest.raises(UserError):
            moment(text, when, "--lights-on")


def test_a_reference_is_laid_on_the_recordings_epochs(tmp_path: Path) -> None:
    tokens, notes = aligned(Hypnogram(["W", "N1", "N2"], 30.0, 60.0), 4, 30.0)
    assert tokens == ["?", "?", "W", "N1"] and len(notes) == 2
    with pytest.raises(UserError, match="off its grid"):
        aligned(Hypnogram(["W"], 30.0, 44.0), 4, 30.0)
    with pytest.raises(UserError, match="no epoch in common"):
        aligned(Hypnogram(["W"], 30.0, 600.0), 4, 30.0)
    (tmp_path / "a.txt").write_text("W\n" * 10 + "N2\n" * 30)
    night = stage_recording(recording(tmp_path / "a.edf"), STAGER, PLAIN, reference=tmp_path / "a.txt")
    assert night.reference is not None and night.reference.count("N2") == 30
    assert night.pair() is not None


def test_channels_come_from_the_montage_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "ours.yaml").write_text("Fpz-Cz: [{difference: [Fpz, Cz]}]\nPz-Oz: [P]\nEOG: [E1]\n")
    path = recording(tmp_path / "a.edf", 6.0, labels=("Fpz", "Cz", "P", "E1"))
    night = stage_recording(path, STAGER, StagingSettings(montage=str(tmp_path / "ours.yaml")))
    assert [row["source"] for row in night.channels] == ["Fpz - Cz", "P", "E1"] and night.channels[0]["derived"]
    with pytest.raises(UserError, match="There are: Fpz, Cz, P, E1"):
        stage_recording(path, STAGER, PLAIN)
    other = make_stager()
    other.front.channels = ["C4-M1", "P", "E1"]  # none of Sleep-EDF's: their plain names
    assert find_montage(other, PLAIN, {}).names == ["C4-M1", "P", "E1"]
