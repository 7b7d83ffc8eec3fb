"""Whole nights of a store of signals with their stages, in memory: for training through an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sigssl.data import matrix
from sigssl.data.ark import read_scp
from sigssl.data.datadir import DataDir
from sigssl.data.feature_nights import Night
from sigssl.data.nights import pick_channels
from sigssl.data.stages import to_int
from sigssl.data.store import StoreInfo
from sigssl.errors import UserError


def read_signal_nights(
    data: DataDir, store: Path, epoch_seconds: float, sample_rate: int, channels: Sequence[str] | None = None
) -> tuple[list[Night], list[str]]:
    """Read the nights of a data directory from a store.

    Args:
        data: nights with `stages`; the speaker is the subject.
        store: folder with feats.scp and feats.json of kind "signal".
        epoch_seconds: length of an epoch.
        sample_rate: that the signals must have.
        channels: names to take, in order; None: all.

    Returns:
        Nights whose features are signals [C, N], cut to whole epochs, with one stage for each (unscored beyond the hypnogram's
        end), and the names of the channels.

    Raises:
        UserError: another rate, no signals, a night that is not stored or has no subject, or no stages at all.
    """
    info = StoreInfo.read(store)
    if info.kind != "signal" or info.sample_rate != sample_rate:
        raise UserError(f"{store}: holds {info.kind} at {info.sample_rate} Hz; the encoder takes signals at {sample_rate} Hz.")
    names, columns = pick_channels(info, channels, str(store))
    scp, rows = read_scp(store / "feats.scp"), round(epoch_seconds * sample_rate)
    nights = []
    for id in data.ids():
        if id not in scp or id not in data.utt2spk:
            raise UserError(f"{data.path}: night {id!r} is not in {store}/feats.scp or has no subject in utt2spk.")
        signal = np.ascontiguousarray(matrix.read_matrix(scp[id])[:, columns].T, dtype=np.float32)
        epochs = signal.shape[1] // rows
        stages = np.full(epochs, -1, dtype=np.int64)
        known = to_int(data.stages.get(id, []))[:epochs]
        stages[: len(known)] = known
        if epochs:
            nights.append(Night(id, data.utt2spk[id], signal[:, : epochs * rows], stages))
    if not any((night.stages >= 0).any() for night in nights):
        raise UserError(f"{data.path}: no night has a scored epoch (file `stages`).")
    return nights, names
