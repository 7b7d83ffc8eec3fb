"""Stagers with drawn weights and small recordings for them, for tests of what surrounds a trained one."""

from __future__ import annotations

from pathlib import Path

import torch
from edf_files import Edf, Signal, annotations, noise, tal

from sigssl.downstream.fronts import BandPowerFront
from sigssl.downstream.sequence_head import SequenceHead
from sigssl.downstream.stager import Stager, save_stager
from sigssl.features.bandpower import BandPower

CHANNELS = ("EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal")


def make_stager(kind: str = "bimamba") -> Stager:
    """A stager; `mamba` is causal."""
    torch.manual_seed(1)
    front = BandPowerFront(BandPower(scale="running" if kind == "mamba" else "zscore"), ["Fpz-Cz", "Pz-Oz", "EOG"])
    stager = Stager(front, SequenceHead(30, kind, dim=16, layers=1)).eval()
    with torch.no_grad():
        for parameter in stager.head.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # so that not every epoch gets the same stage
    return stager


def saved_stager(folder: Path, kind: str = "bimamba") -> str:
    """The folder of one."""
    return str(save_stager(folder, make_stager(kind), {"montage": "sleep_edf", "split_hash": "abc"}, "card"))


def recording(
    path: Path,
    minutes: float = 20.0,
    *,
    rate: int = 100,
    scale: float = 300.0,
    unit: str = "uV",
    labels: tuple[str, ...] = CHANNELS,
    notes: tuple[tuple[float, str], ...] = (),
) -> Path:
    """An EDF file of noise with the channels of Sleep-EDF."""
    seconds = round(minutes * 60)
    signals = [Signal(label, noise(seconds, rate, seed, scale), rate, unit) for seed, label in enumerate(labels)]
    if notes:
        first = tal(0) + b"".join(tal(onset, text) for onset, text in notes)
        signals.append(annotations([first, *(tal(second) for second in range(1, seconds))]))
    return Edf(signals, reserved="EDF+C" if notes else "").write(path)
