"""Values from independent libraries and from the published vectors."""

from __future__ import annotations

import math

import torch

from sigssl.features import Deltas, KaldiFbank, LogMel


def chirp() -> torch.Tensor:
    t = torch.arange(16000, dtype=torch.float64) / 16000
    return (0.1 * torch.sin(2 * math.pi * (200 * t + 1500 * t * t)) + 0.01 * torch.sin(2 * math.pi * 3000 * t)).float()[None]


def close(got: torch.Tensor, expected: list[float], atol: float = 3e-3) -> None:
    torch.testing.assert_close(got, torch.tensor(expected), atol=atol, rtol=0)


LENGTH = torch.tensor([16000])


def test_log_mel_as_s3prl_takes_it() -> None:
    frames, lengths = LogMel(cmvn=None)(chirp(), LENGTH)
    assert frames.shape == (1, 101, 80) and lengths.tolist() == [101]
    close(frames[0, 0, :5], [0.0192, 1.3057, 1.1926, 1.0902, 2.3970], 1e-3)
    close(frames[0, 50, :5], [-20.6862, -19.4720, -19.8439, -19.9418, -19.2683], 1e-2)
    close(frames.mean(), -17.03877, 1e-3)  # type: ignore[arg-type]
    frames, _ = LogMel()(chirp(), LENGTH)
    close(frames[0, 0, :5], [4.6350, 4.3997, 4.3280, 4.3446, 4.0916], 1e-3)
    close(frames[0, 100, -3:], [5.9734, 5.9723, 5.9714], 1e-3)


def test_kaldi_fbank_as_s3prl_takes_it() -> None:
    frames, _ = KaldiFbank(80, scale=1.0)(chirp(), LENGTH)
    assert frames.shape == (1, 98, 80)
    close(frames[0, 0, :5], [-11.4755, -10.0926, -9.3944, -8.3657, -5.9436], 1e-3)
    close(frames.mean(), -13.25778, 1e-3)  # type: ignore[arg-type]
    frames, _ = KaldiFbank(80, scale=1.0, window_type="hamming", cmvn="utterance")(chirp(), LENGTH)
    close(frames[0, 0, :5], [-1.2049, 0.4161, -1.1835, 1.4227, 3.4914], 1e-3)
    close(frames[0, 97, -3:], [1.0850, 1.0630, 1.0482], 1e-3)
    frames, _ = KaldiFbank(80, scale=1.0, deltas=Deltas(edges="each"), cmvn="utterance")(chirp(), LENGTH)
    assert frames.shape == (1, 98, 240)
    close(frames[0, 50, 80:83], [0.3292, 0.3386, 0.3602], 1e-3)
    close(frames[0, 50, 160:163], [-1.3770, -0.5424, -0.1727], 2e-3)
