"""Damaged EDF files: 2,000 of them, each with an error that the user can read or with signals of the right length."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import numpy as np
import pytest
from edf_files import Edf, Signal, annotations, noise, tal

from sigssl.data.hypnogram import read_hypnogram
from sigssl.data.montage import Montage
from sigssl.data.psg import open_psg, read_signal
from sigssl.data.psg_base import PSG
from sigssl.errors import UserError

MUTANTS = 2000
TAKES = b"0123456789-+.eE \0\xff\x14\x15DCF9"


def parents(folder: Path) -> list[bytes]:
    """Small files of each kind: plain, mixed rates with annotations, discontinuous, 24 bits."""
    eeg, eog = Signal("EEG Fpz-Cz", noise(8, 20), 20), Signal("EOG", noise(8, 10), 10)
    stages = [tal(i) + (tal(2 * i, "Sleep stage W", duration=2) if i < 4 else b"") for i in range(8)]
    jumps = [tal(i + 5 * (i > 3)) for i in range(8)]
    made = [
        Edf([eeg]),
        Edf([eeg, Signal("Temp", noise(8, 1), 1, unit="DegC"), eog, annotations(stages)], reserved="EDF+C"),
        Edf([eeg, eog, annotations(jumps)], reserved="EDF+D"),
        Edf([eeg, eog], width=3),
    ]
    return [edf.write(folder / "parent").read_bytes() for edf in made]


def mutant(data: bytes, generator: np.random.Generator) -> bytes:
    """The file with bytes changed (mostly of the header), a field overwritten, or a part cut out, doubled or cut off."""
    made = bytearray(data)
    for _ in range(generator.integers(1, 5)):
        at = int(generator.integers(0, min(len(made), 2000) if generator.random() < 0.8 else len(made)))
        kind = generator.integers(0, 6)
        if kind < 3:
            made[at] = TAKES[generator.integers(len(TAKES))] if kind else int(generator.integers(256))
        elif kind == 3:
            made[at : at + 8] = b"%-8d" % generator.choice([0, -1, 1, 7, 99999999, -9999999, 256])
        elif kind == 4:
            stop = at + int(generator.integers(1, 600))
            made[at:stop] = b"" if generator.random() < 0.5 else made[at:stop] * 2
        else:
            del made[max(at, 1) :]
        if len(made) < 2:
            break
    return bytes(made)


def right_length(psg: PSG) -> None:
    """Every channel that can be read is as long as the duration says, and finite; so is the signal made of them."""
    read = []
    for channel in psg.channels:
        try:
            made = psg.read(channel.name)
        except UserError:
            continue
        assert len(made) == round(psg.duration * channel.rate)
        assert np.isfinite(made).all()
        read.append(channel)
    assert all(note.text for note in psg.annotations)
    if read and read[0].rate >= 10 and psg.duration < 1000:
        assert len(read_signal(psg, Montage.of([read[0].name]), 10.0, None, None)) == round(psg.duration * 10)


@pytest.mark.parametrize("part", range(4))
def test_mutants_give_an_error_or_a_right_result(part: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(part)
    parent = parents(tmp_path)[part]
    outcomes = {"read": 0, "refused": 0}
    for _ in range(MUTANTS // 4):
        file = tmp_path / "m.edf"
        file.write_bytes(mutant(parent, generator))
        begin = time.monotonic()
        try:
            right_length(open_psg(file, assume_unit="uV"))
            outcomes["read"] += 1
        except UserError as error:
            assert str(error)
            outcomes["refused"] += 1
        with contextlib.suppress(UserError):
            assert read_hypnogram(file, 2.0).stages
        assert time.monotonic() - begin < 10
    assert min(outcomes.values()) > 25, outcomes
