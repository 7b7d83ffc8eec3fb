"""Values from independent libraries and from published vectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kaldi_native_fbank as knf
import librosa
import numpy as np
import pytest
import soundfile
import torch

from sigssl.features import MFCC, Deltas, Extractor, KaldiFbank, LogMel
from sigssl.features.spectral import mel_filters

compliance = pytest.importorskip("torchaudio.compliance.kaldi", exc_type=ImportError)


def run(extractor: Extractor, signal: torch.Tensor) -> torch.Tensor:
    frames, lengths = extractor(signal[None], torch.tensor([len(signal)]))
    assert lengths.tolist() == [frames.shape[1]] and frames.shape[2] == extractor.dim
    return frames[0]


def chirp() -> torch.Tensor:
    t = torch.arange(16000, dtype=torch.float64) / 16000
    return (0.1 * torch.sin(2 * math.pi * (200 * t + 1500 * t * t)) + 0.01 * torch.sin(2 * math.pi * 3000 * t)).float()


def speech(real_data: Callable[[str], Path]) -> torch.Tensor:
    path = sorted((real_data("an4") / "audio").rglob("*.*"))[3]
    signal, rate = soundfile.read(path, dtype="float32")
    assert rate == 16000
    return torch.from_numpy(signal)


def close(got: torch.Tensor, expected: Any, atol: float) -> None:
    torch.testing.assert_close(got, torch.as_tensor(np.asarray(expected), dtype=torch.float32), atol=atol, rtol=0)


def test_log_mel_as_s3prl_takes_it() -> None:
    frames = run(LogMel(cmvn=None), chirp())
    assert frames.shape == (101, 80)
    close(frames[0, :5], [0.0192, 1.3057, 1.1926, 1.0902, 2.3970], 1e-3)
    close(frames[50, :5], [-20.6862, -19.4720, -19.8439, -19.9418, -19.2683], 1e-2)
    close(frames.mean(), -17.03877, 1e-3)
    frames = run(LogMel(), chirp())
    close(frames[0, :5], [4.6350, 4.3997, 4.3280, 4.3446, 4.0916], 1e-3)
    close(frames[50, :5], [-0.1276, -0.0176, -0.0809, -0.0889, -0.0761], 5e-3)
    close(frames[100, -3:], [5.9734, 5.9723, 5.9714], 1e-3)


def test_kaldi_fbank_as_s3prl_takes_it() -> None:
    frames = run(KaldiFbank(80, scale=1.0), chirp())
    assert frames.shape == (98, 80)
    close(frames[0, :5], [-11.4755, -10.0926, -9.3944, -8.3657, -5.9436], 1e-3)
    close(frames[50, :3], [-12.6986, -15.7423, -15.9424], 1e-2)
    close(frames.mean(), -13.25778, 1e-3)
    frames = run(KaldiFbank(80, scale=1.0, window_type="hamming"), chirp())
    close(frames[50, :3], [-10.0518, -10.3473, -10.4667], 1e-3)
    close(frames.mean(), -8.37749, 1e-3)
    frames = run(KaldiFbank(80, scale=1.0, window_type="hamming", cmvn="utterance"), chirp())
    close(frames[0, :5], [-1.2049, 0.4161, -1.1835, 1.4227, 3.4914], 1e-3)
    close(frames[50, :5], [-0.0410, 0.1301, -0.6748, -0.4719, -0.0888], 1e-3)
    close(frames[97, -3:], [1.0850, 1.0630, 1.0482], 1e-3)
    frames = run(KaldiFbank(80, scale=1.0, deltas=Deltas(edges="each"), cmvn="utterance"), chirp())
    assert frames.shape == (98, 240)
    close(frames[50, :3], [0.7474, -0.2968, -0.3229], 1e-3)
    close(frames[50, 80:83], [0.3292, 0.3386, 0.3602], 1e-3)
    close(frames[50, 160:163], [-1.3770, -0.5424, -0.1727], 2e-3)


def kaldi(kind: str, signal: torch.Tensor, mel: dict[str, Any], frame: dict[str, Any], **other: Any) -> np.ndarray:
    """kaldi-native-fbank's frames."""
    options = knf.FbankOptions() if kind == "fbank" else knf.MfccOptions()
    options.frame_opts.dither = 0
    for target, values in ((options.mel_opts, mel), (options.frame_opts, frame), (options, other)):
        for name, value in values.items():
            setattr(target, name, value)
    computer = (knf.OnlineFbank if kind == "fbank" else knf.OnlineMfcc)(options)
    computer.accept_waveform(options.frame_opts.samp_freq, (signal * 32768).tolist())
    computer.input_finished()
    return np.array([computer.get_frame(t) for t in range(computer.num_frames_ready)])


FBANKS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({}, {}, {}, {}),
    ({"n_mels": 80}, {"num_bins": 80}, {}, {}),
    ({"snip_edges": False}, {}, {"snip_edges": False}, {}),
    ({"window_type": "hamming", "preemphasis": 0.9}, {}, {"window_type": "hamming", "preemph_coeff": 0.9}, {}),
    ({"window_type": "hann", "remove_dc": False}, {}, {"window_type": "hanning", "remove_dc_offset": False}, {}),
    ({"window_type": "rectangular", "preemphasis": 0.0}, {}, {"window_type": "rectangular", "preemph_coeff": 0.0}, {}),
    ({"low_hz": 100.0, "high_hz": -400.0}, {"low_freq": 100.0, "high_freq": -400.0}, {}, {}),
    ({"low_hz": 64.0, "high_hz": 7600.0}, {"low_freq": 64.0, "high_freq": 7600.0}, {}, {}),
    ({"use_energy": True}, {}, {}, {"use_energy": True}),
    ({"use_energy": True, "htk_compat": True}, {}, {}, {"use_energy": True, "htk_compat": True}),
    ({"use_energy": True, "raw_energy": False}, {}, {}, {"use_energy": True, "raw_energy": False}),
    ({"use_energy": True, "energy_floor": 1e9}, {}, {}, {"use_energy": True, "energy_floor": 1e9}),
    ({"use_power": False}, {}, {}, {"use_power": False}),
    ({"window_ms": 20.0, "hop_ms": 5.0}, {}, {"frame_length_ms": 20.0, "frame_shift_ms": 5.0}, {}),
]


@pytest.mark.parametrize(("ours", "mel", "frame", "other"), FBANKS, ids=[str(case[0]) for case in FBANKS])
def test_fbank_against_kaldi_native_fbank(
    real_data: Callable[[str], Path], ours: dict[str, Any], mel: dict[str, Any], frame: dict[str, Any], other: dict[str, Any]
) -> None:
    signal = speech(real_data)
    close(run(KaldiFbank(**ours), signal), kaldi("fbank", signal, mel, frame, **other), 2e-3)


MFCCS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({}, {}, {}),
    ({"use_energy": False, "lifter": 0.0}, {}, {"use_energy": False, "cepstral_lifter": 0.0}),
    ({"use_energy": False, "htk_compat": True}, {}, {"use_energy": False, "htk_compat": True}),
    ({"htk_compat": True, "raw_energy": False}, {}, {"htk_compat": True, "raw_energy": False}),
    ({"n_ceps": 40, "n_mels": 40, "high_hz": -400.0}, {"num_bins": 40, "high_freq": -400.0}, {"num_ceps": 40}),
]


@pytest.mark.parametrize(("ours", "mel", "other"), MFCCS, ids=[str(case[0]) for case in MFCCS])
def test_mfcc_against_kaldi_native_fbank(
    real_data: Callable[[str], Path], ours: dict[str, Any], mel: dict[str, Any], other: dict[str, Any]
) -> None:
    signal = speech(real_data)
    close(run(MFCC(**ours), signal), kaldi("mfcc", signal, mel, {}, **other), 5e-3)


@pytest.mark.parametrize("samples", [1, 79, 80, 81, 160, 239, 240, 241, 399, 400, 401, 559, 560, 719])
@pytest.mark.parametrize("snip_edges", [True, False])
def test_short_signals_against_kaldi_native_fbank(samples: int, snip_edges: bool) -> None:
    signal = torch.randn(samples, generator=torch.Generator().manual_seed(samples)) * 0.1
    expected = kaldi("fbank", signal, {}, {"snip_edges": snip_edges})
    frames = run(KaldiFbank(snip_edges=snip_edges), signal)
    assert len(frames) == len(expected)
    if len(expected):
        close(frames, expected, 2e-3)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100])
def test_other_rates_against_kaldi_native_fbank(rate: int) -> None:
    signal = torch.randn(rate // 2, generator=torch.Generator().manual_seed(1)) * 0.1
    frame = {"samp_freq": rate, "snip_edges": False}
    close(run(KaldiFbank(40, sample_rate=rate, snip_edges=False), signal), kaldi("fbank", signal, {"num_bins": 40}, frame), 2e-3)


@pytest.mark.parametrize("snip_edges", [True, False])
def test_against_torchaudio_compliance(real_data: Callable[[str], Path], snip_edges: bool) -> None:
    signal = speech(real_data)
    expected = compliance.fbank(signal[None], num_mel_bins=80, dither=0.0, snip_edges=snip_edges)
    close(run(KaldiFbank(80, scale=1.0, snip_edges=snip_edges), signal), expected, 2e-3)
    expected = compliance.mfcc(signal[None], dither=0.0, snip_edges=snip_edges)
    close(run(MFCC(scale=1.0, use_energy=False, snip_edges=snip_edges), signal), expected, 5e-3)


@pytest.mark.parametrize(("rate", "n_mels", "n_fft"), [(16000, 80, None), (16000, 40, 512), (8000, 40, 256), (16000, 80, 401)])
def test_log_mel_against_librosa(real_data: Callable[[str], Path], rate: int, n_mels: int, n_fft: int | None) -> None:
    signal = speech(real_data)
    window, hop = rate // 40, rate // 100
    expected = librosa.feature.melspectrogram(
        y=signal.numpy(), sr=rate, n_fft=n_fft or window, win_length=window, hop_length=hop, pad_mode="reflect",
        n_mels=n_mels, htk=True, norm=None,
    )  # fmt: skip
    close(run(LogMel(n_mels, rate, n_fft=n_fft, loudness=None, cmvn=None), signal), np.log(expected + 1e-10).T, 2e-3)


def test_linear_spectrum_against_torch_stft(real_data: Callable[[str], Path]) -> None:
    signal = speech(real_data)
    expected = torch.stft(signal, 400, 160, window=torch.hann_window(400), return_complex=True).abs().square().add(1e-10).log()
    frames = run(LogMel(None, loudness=None, cmvn=None), signal)
    assert frames.shape[1] == 201
    torch.testing.assert_close(frames, expected.T, atol=2e-2, rtol=0)  # single bins fall far below the frame's level
    assert (frames - expected.T).abs().mean() < 1e-4


@pytest.mark.parametrize("slaney_rate", [(400, 16000, 80), (512, 22050, 64)])
def test_filters_against_librosa(slaney_rate: tuple[int, int, int]) -> None:
    n_fft, rate, n_mels = slaney_rate
    ours = mel_filters(n_mels, n_fft, rate, 0.0, rate / 2, linear_in="hertz")
    theirs = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=n_mels, htk=True, norm=None, dtype=np.float64)
    torch.testing.assert_close(ours, torch.from_numpy(theirs).T, atol=1e-9, rtol=0)
    if n_fft == 400:
        assert ours.sum().item() == pytest.approx(196.152, abs=1e-3)
