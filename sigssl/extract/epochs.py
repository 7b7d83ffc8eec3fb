"""Embeddings of stored nights: one row per epoch (`sigssl embed` of a store of signals)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sigssl.data.ark import ArkWriter, merge, read_matrix, read_scp
from sigssl.data.io import read_json, write_json, write_text
from sigssl.data.nights import pick_channels
from sigssl.data.store import StoreInfo
from sigssl.errors import UserError
from sigssl.training.checkpoint import load_encoder, model_name, read_meta
from sigssl.types import EpochEncoder

BATCH = 64


def is_night_store(source: Sequence[str]) -> bool:
    """Whether a source is one folder with a store of signals."""
    folder = Path(source[0])
    if len(source) != 1 or not (folder / "feats.json").is_file() or not (folder / "feats.scp").is_file():
        return False
    return StoreInfo.read(folder).kind == "signal"


def embed_nights(
    store: str | Path, model: str | Path, folder: str | Path, *, device: str = "cpu", channels: Sequence[str] | None = None
) -> dict[str, str]:
    """Write one matrix [epochs, D] per night into `folder`: emb.ark, emb.scp, emb.json.

    Nights that are there already, from a run that was stopped, are not computed again.

    Args:
        store: folder that `sigssl features` wrote of nights.
        model: folder of a run or of an exported encoder of epochs.
        folder: output folder.
        device: to compute on.
        channels: names of stored channels in the encoder's order; None: those of its training, else all.

    Returns:
        Nights that could not be embedded, with the reason; they are listed in quarantine.tsv too.

    Raises:
        UserError: the encoder takes no epochs, or does not fit the store, or the folder holds what another model made.
    """
    store, folder = Path(store), Path(folder)
    encoder, info, meta = load_encoder(model), StoreInfo.read(store), read_meta(model)
    loaded: object = encoder
    if not isinstance(loaded, EpochEncoder) or not isinstance(loaded, nn.Module):
        raise UserError(f"{model}: takes no epochs of signals; embed the recordings themselves, or name a model such as NeuroNet.")
    columns = _columns(info, channels or meta.get("data", {}).get("channels"), loaded, str(store))
    config = {"model": model_name(model), "weights": meta["weights_sha256"], "store": info.config}
    config["channels"] = columns
    _claim(folder, {key: value for key, value in config.items() if key != "model"})
    bad: dict[str, str] = {}
    counts: dict[str, int] = {}
    with ArkWriter(folder, "emb") as ark:
        loaded.to(device)
        for id, place in read_scp(store / "feats.scp").items():
            if id in ark.done:
                continue
            try:
                vectors = _vectors(loaded, torch.from_numpy(np.ascontiguousarray(read_matrix(place)[:, columns].T)), device)
                ark.write(id, vectors.numpy())
            except UserError as error:
                bad[id] = str(error)
    scp = merge(folder, "emb")
    counts = {id: len(read_matrix(place)) for id, place in scp.items()}
    write_text(folder / "utt2num_frames", "".join(f"{id} {count}\n" for id, count in counts.items()))
    write_text(folder / "quarantine.tsv", "".join(f"{id}\t{store}\t{' '.join(why.split())}\n" for id, why in bad.items()))
    StoreInfo("embeddings", loaded.dim, loaded.epoch_seconds, info.sample_rate, config=config).write(folder, "emb")
    return bad


@torch.inference_mode()
def _vectors(encoder: Any, signal: Tensor, device: str) -> Tensor:
    samples = round(encoder.epoch_seconds * encoder.sample_rate)
    count = signal.shape[1] // samples
    if not count:
        raise UserError(f"{signal.shape[1]} samples are less than one epoch of {samples}.")
    scaler = getattr(encoder, "scaler", None)
    signal = signal if scaler is None else scaler(signal)
    epochs = signal[:, : count * samples].unflatten(1, (count, samples)).transpose(0, 1)
    return torch.cat([encoder(part.to(device)).float().cpu() for part in epochs.split(BATCH)])


def _columns(info: StoreInfo, wanted: Sequence[str] | None, encoder: EpochEncoder, where: str) -> list[int]:
    names, columns = pick_channels(info, wanted, where)
    if info.sample_rate != encoder.sample_rate or len(columns) != encoder.channels:
        raise UserError(
            f"{where}: {len(columns)} channels ({', '.join(names)}) at {info.sample_rate} Hz; the encoder takes {encoder.channels} "
            f"at {encoder.sample_rate} Hz. Name its channels, or store the nights at its rate."
        )
    return columns


def _claim(folder: Path, identity: dict[str, Any]) -> None:
    """Mark a folder as this model's; UserError where it is another's."""
    mark = folder / "made_by.json"
    if mark.exists() and read_json(mark) != identity:
        raise UserError(f"{folder}: holds embeddings of another model or store; name another folder or remove it.")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(mark, identity)
