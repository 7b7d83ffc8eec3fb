"""Polysomnograms: open a recording, pick channels by name, read them in microvolts.

    psg = open_psg("SC4001E0-PSG.edf")
    montage = Montage.read("sleep_edf").select(["Fpz-Cz", "Pz-Oz"])
    signal = read_signal(psg, montage, sample_rate=100.0)  # [samples, 2] in microvolts, filtered

EDF, EDF+C, EDF+D, BDF and BDF+ are read here, whatever the file is called; FIF, BrainVision and EEGLAB through MNE.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from sigssl.data.edf_header import is_edf
from sigssl.data.montage import Montage, Pick
from sigssl.data.opening import check_file
from sigssl.data.psg_base import PSG, Channel
from sigssl.data.psg_edf import EdfPSG
from sigssl.data.psg_mne import READERS, MnePSG
from sigssl.data.signal import Conditioning, read_signal, signal_blocks
from sigssl.errors import UserError

__all__ = ["PSG", "SUFFIXES", "Channel", "Conditioning", "Montage", "Pick", "open_psg", "read_signal", "signal_blocks"]

SUFFIXES = {".edf", ".bdf", ".rec", ".edf+", *READERS}  # by which a folder is searched; EDF is read whatever its name


def open_psg(path: str | Path, *, assume_unit: str | None = None, discontinuous: Literal["fill", "refuse"] = "fill") -> PSG:
    """Open a recording; no sample is read yet.

    Args:
        path: the file.
        assume_unit: the unit (uV, mV, V, nV) of channels that state none; without it reading them is an error.
        discontinuous: EDF+D files with gaps: "fill" puts each part where its onset says, zeros between; "refuse" is an error.

    Raises:
        UserError: missing, empty, damaged, without signals, or of an unknown kind.
        MissingExtraError: FIF, BrainVision or EEGLAB without MNE.
    """
    path = Path(path)
    check_file(str(path))
    if is_edf(path):
        return EdfPSG(path, assume_unit, discontinuous)
    if path.suffix.lower() in READERS:
        return MnePSG(path, assume_unit)
    if path.suffix.lower() in SUFFIXES:
        return EdfPSG(path, assume_unit, discontinuous)  # says what is wrong with its header
    raise UserError(
        f"{path}: is no recording that is known here. Expected EDF, BDF, FIF (.fif), BrainVision (.vhdr) or EEGLAB (.set)."
    )
