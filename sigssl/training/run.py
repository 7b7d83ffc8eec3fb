"""A run folder: its settings, what it was made from, and the method at a checkpoint. Nothing here needs Lightning."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from sigssl.config import build, describe
from sigssl.data import audio
from sigssl.data.datadir import DataDir
from sigssl.data.io import write_text
from sigssl.data.shar import manifests, shar_folder
from sigssl.errors import UserError, nearest
from sigssl.methods.base import Method
from sigssl.training.checkpoint import CONFIG, save_encoder
from sigssl.training.options import DataOptions, OptimOptions, TrainerOptions

TABLES = ("wav.scp", "segments", "utt2dur", "feats.scp")  # what decides which items there are
HEADERS = 20000  # files that are opened to learn how long they are
FREE = {"data": {"workers", "bad_share"}, "trainer": {"log_every", "save_every", "validate_every", "meter_every", "progress"}}
FREE["trainer"] |= {"accelerator", "devices", "num_nodes"}
FREE["optim"] = {"non_finite_limit"}


def settings(method: nn.Module, data: DataOptions, optim: OptimOptions, trainer: TrainerOptions) -> dict[str, Any]:
    """All settings of a run, plain, as config.yaml holds them."""
    sections = {"data": asdict(data), "optim": asdict(optim), "trainer": asdict(trainer)}
    sections["optim"]["betas"] = list(optim.betas)
    return {"method": describe(method), **sections}


def write_settings(out: Path, config: dict[str, Any]) -> None:
    """Write config.yaml; `sigssl pretrain --config` reads it again."""
    write_text(out / CONFIG, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def read_settings(out: Path) -> dict[str, Any]:
    """Read config.yaml of a run.

    Raises:
        UserError: it is absent or no run's.
    """
    file = out / CONFIG
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{out}: is no run of `sigssl pretrain` (no {CONFIG}: {error.strerror}).") from error
    except yaml.YAMLError as error:
        raise UserError(f"{file}: is no readable YAML ({error}).") from error
    if not isinstance(config, dict) or "method" not in config:
        raise UserError(f"{file}: has no section `method:`; it is no run's configuration.")
    return config


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Settings that differ and decide the numbers, as `optim.lr: 0.1, now 0.2`; how often to log or save is free to change."""
    found = []
    for section in ("method", "data", "optim", "trainer"):
        before, now = (dict(_flat(section, config.get(section, {}))) for config in (old, new))
        for key in before | now:
            if before.get(key) != now.get(key) and key.split(".")[1] not in FREE.get(section, ()):
                found.append(f"{key}: {before.get(key)!r}, now {now.get(key)!r}")
    return found


def fingerprint(path: str | Path) -> str:
    """SHA-256 over the tables of a data directory that say which items it has."""
    digest = hashlib.sha256()
    shar = shar_folder(path)
    for file in [Path(path) / name for name in TABLES] if shar is None else manifests(shar):
        if file.exists():
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def load_method(out: str | Path, checkpoint: str | Path = "last", trust: tuple[str, ...] = ("sigssl",)) -> Method:
    """The method of a run with the weights of a checkpoint, in eval mode on the CPU.

    Args:
        out: run folder.
        checkpoint: "last", "best", or a checkpoint file.
        trust: top-level packages whose classes the configuration may name.

    Raises:
        UserError: no run, no such checkpoint, or weights that do not fit.
    """
    out = Path(out)
    method = build(read_settings(out)["method"], where=str(out / CONFIG), trust=trust)
    file = checkpoint_file(out, checkpoint)
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    except Exception as error:  # torch raises many kinds for a damaged archive
        raise UserError(f"{file}: cannot be read as a checkpoint ({error}).") from error
    try:
        method.load_state_dict({name.removeprefix("method."): value for name, value in state.items()}, strict=True)
    except RuntimeError as error:
        raise UserError(f"{file}: does not fit the method that {out / CONFIG} describes: {error}") from error
    assert isinstance(method, Method)
    return method.eval()


def checkpoint_file(out: Path, checkpoint: str | Path) -> Path:
    """The file of "last", "best" or a path; UserError where there is none."""
    named = out / "checkpoints" / f"{checkpoint}.ckpt"
    for file in (named, Path(checkpoint)):
        if file.is_file():
            return file
    there = sorted(path.stem for path in (out / "checkpoints").glob("*.ckpt"))
    if not there:
        raise UserError(f"{out}: has no checkpoints; run `sigssl pretrain` first.")
    raise UserError(f"{out}: no checkpoint {str(checkpoint)!r}; there are {', '.join(there)}.{nearest(str(checkpoint), there)}")


def export_encoder(
    out: Path,
    folder: Path,
    checkpoint: str | Path = "last",
    trust: tuple[str, ...] = ("sigssl",),
    said: dict[str, Any] | None = None,
    card: str = "",
) -> Path:
    """Write the encoder of a run's checkpoint for :func:`sigssl.load`; `said` joins its meta, `card` replaces its card."""
    config = read_settings(out)
    method = load_method(out, checkpoint, trust)
    return save_encoder(folder, method.encoder, encoder_meta(config, str(checkpoint)) | (said or {}), card)


def encoder_meta(config: dict[str, Any], checkpoint: str) -> dict[str, Any]:
    """What an exported encoder says about its making."""
    train, channels = config["data"]["train"], config["data"].get("channels")
    named = {"channels": channels} if channels else {}
    data = DataDir.read(train)
    return {
        "method": config["method"]["class_path"],
        "checkpoint": checkpoint,
        "updates": config["trainer"]["updates"],
        "data": {
            "train": train,
            "sha256": fingerprint(train),
            "speakers": sorted(set(data.utt2spk.values())),
            "hours": _hours(data),
        }
        | named,
    }


def _hours(data: DataDir) -> float | None:
    """Hours of signal: as the folder says, else as the files' headers do; None where they cannot tell or are too many."""
    utterances = data.utterances()
    if len([one for one in utterances if one.duration is None]) > HEADERS:
        return None
    try:
        seconds = [
            audio.info(one.path).duration - one.start if one.duration is None else one.duration
            for one in utterances  # whole files, where nobody says how long they are
        ]
    except (UserError, OSError):
        return None
    return round(sum(seconds) / 3600, 4) if seconds else None


def _flat(prefix: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in _flat(f"{prefix}.{key}", inner)]
    return [(prefix, list(value) if isinstance(value, tuple) else value)]
