"""s3prl's TERA, Mockingjay and AudioALBERT checkpoints: read in all their layouts, without running what they hold, and written.

Only tensors and plain values are taken from a file (`weights_only=True`); s3prl itself is not needed.
"""

from __future__ import annotations

import argparse
import os
import pickle
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sigssl.errors import UserError
from sigssl.methods.s3prl_config import describe_tera, make_tera
from sigssl.methods.tera import TERA

State = dict[str, Tensor]

# s3prl's name -> ours; the three projections of attention are stacked into one
BODY = {
    "input_representations.spec_transform": "embed",
    "input_representations.LayerNorm": "embed_norm",
    "attention.output.dense": "out",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "ffn_norm",
}
HEAD = {"dense": "dense", "LayerNorm": "norm", "output": "output"}
PROJECTIONS = ("query", "key", "value")
LAYER = re.compile(r"encoder\.layer\.(\d+)\.(.+)")

SCHEDULES = ("WarmupLinearSchedule", "WarmupConstantSchedule", "WarmupCosineSchedule", "ConstantLR")
SCHEDULE_MODULES = ("optimizers", "s3prl.optimizers", "transformer.optimization")


class S3PRLCheckpoint(NamedTuple):
    """What a file holds: its layout (A, B, C), the model's configuration, and both state dicts with s3prl's names."""

    layout: str
    config: dict[str, Any]
    transformer: State
    head: State


def import_s3prl(path: str | Path) -> TERA:
    """Build a model from an s3prl checkpoint.

    Args:
        path: a `states-*.ckpt` of s3prl's `tera`, `mockingjay` or `audio_albert`, of any version.

    Returns:
        The method, in eval mode; `.encoder` gives the hidden states. Where the file has no head, it starts at random.

    Raises:
        UserError: no such file, another kind of file, or a configuration that this encoder cannot express (it is named).
    """
    found = read_s3prl(path)
    method = make_tera(found.config, where=str(path), head_dim=len(found.head["output.bias"]) if found.head else None)
    try:
        method.encoder.body.load_state_dict(body_from_s3prl(found.transformer, shared=method.encoder.body.share_layers))
        if found.head:
            method.head.load_state_dict(head_from_s3prl(found.head))
    except (RuntimeError, KeyError) as error:
        raise UserError(f"{path}: the tensors do not fit the configuration in the same file: {error}") from error
    return method.eval()


def export_s3prl(method: TERA, path: str | Path) -> Path:
    """Write a file that s3prl loads as `S3PRLUpstream("tera_local", path_or_url=path)`.

    It has layout C without optimiser state, and opens with `torch.load(path, weights_only=True)`.

    Args:
        method: a TERA whose features s3prl knows.
        path: where to; written whole or not at all.

    Raises:
        UserError: settings that s3prl cannot express, each named.
    """
    path = Path(path)
    body = method.encoder.body
    content = {
        "Config": {},
        "Upstream_Config": describe_tera(method),
        "Transformer": body_to_s3prl(body.state_dict(), body.layers),
        "SpecHead": head_to_s3prl(method.head.state_dict()),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    try:
        torch.save(content, temporary)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def read_s3prl(path: str | Path) -> S3PRLCheckpoint:
    """Read tensors and configuration, whatever the layout.

    Args:
        path: a checkpoint of s3prl.

    Raises:
        UserError: missing, unreadable, holding code that is not let in, or no Transformer checkpoint of s3prl.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; expected an s3prl checkpoint (states-*.ckpt).")
    try:
        with torch.serialization.safe_globals([argparse.Namespace, *inert_schedules()]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"{path}: is damaged or no checkpoint of tensors and plain values ({reason}).") from error
    if not isinstance(content, Mapping) or not {"Transformer", "Mockingjay"} & content.keys():
        keys = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise UserError(f"{path}: has no entry 'Transformer', so it is none of s3prl's TERA family; it holds: {keys}.")
    layout, config = _layout(content, path)
    head = content.get("SpecHead") or {}
    return S3PRLCheckpoint(layout, config, _renamed(content.get("Transformer") or content["Mockingjay"]), _renamed(head))


def _layout(content: Mapping[str, Any], path: str | Path) -> tuple[str, dict[str, Any]]:
    places = {
        "B": content.get("Config"),
        "C": content.get("Upstream_Config"),
        "A": (content.get("Settings") or {}).get("Config"),
    }
    for layout, config in places.items():
        if isinstance(config, Mapping) and "transformer" in config:
            return layout, dict(config)
    raise UserError(f"{path}: holds no model configuration; expected 'transformer' in Config, Upstream_Config or Settings.Config.")


def inert_schedules() -> list[type]:
    """Empty classes under the names that s3prl's optimiser states mention, so that reading them runs nothing."""
    return [type(name, (), {"__module__": module}) for module in SCHEDULE_MODULES for name in SCHEDULES]


def _renamed(state: Mapping[str, Tensor]) -> State:
    """LayerNorm's oldest names, gamma and beta, as weight and bias."""
    return {re.sub("gamma$", "weight", re.sub("beta$", "bias", key)): value for key, value in state.items()}


def body_from_s3prl(state: Mapping[str, Tensor], *, shared: bool) -> State:
    """A `Transformer` state dict with the names of :class:`sigssl.nn.TransformerEncoder`.

    Args:
        state: as s3prl names it.
        shared: the layers are copies of one another; keep the first.
    """
    named: State = {}
    for key, value in state.items():
        name, _, kind = key.rpartition(".")
        layer = LAYER.fullmatch(name)
        if layer is None:
            named[f"{BODY[name]}.{kind}"] = value
        elif shared and layer[1] != "0":
            continue
        elif layer[2] == "attention.self.query":
            stem = key.removesuffix(f"query.{kind}")
            named[f"blocks.{layer[1]}.qkv.{kind}"] = torch.cat([state[f"{stem}{p}.{kind}"] for p in PROJECTIONS])
        elif not layer[2].startswith("attention.self."):
            named[f"blocks.{layer[1]}.{BODY[layer[2]]}.{kind}"] = value
    return named


def body_to_s3prl(state: Mapping[str, Tensor], layers: int) -> State:
    """The inverse of :func:`body_from_s3prl`; shared layers are written `layers` times."""
    theirs = {ours: name for name, ours in BODY.items()}
    shared = not any(key.startswith("blocks.1.") for key in state)
    named: State = {}
    for key, value in state.items():
        name, _, kind = key.rpartition(".")
        if not name.startswith("blocks."):
            named[f"{theirs[name]}.{kind}"] = value
            continue
        _, index, part = name.split(".")
        for layer in range(layers) if shared else [int(index)]:
            stem = f"encoder.layer.{layer}"
            if part == "qkv":
                for projection, third in zip(PROJECTIONS, value.chunk(3), strict=True):
                    named[f"{stem}.attention.self.{projection}.{kind}"] = third.clone()
            else:
                named[f"{stem}.{theirs[part]}.{kind}"] = value
    return named


def head_from_s3prl(state: Mapping[str, Tensor]) -> State:
    """A `SpecHead` state dict with the names of :class:`sigssl.nn.ReconstructionHead`."""
    return {f"{HEAD[name]}.{kind}": value for key, value in state.items() for name, _, kind in [key.rpartition(".")]}


def head_to_s3prl(state: Mapping[str, Tensor]) -> State:
    """The inverse of :func:`head_from_s3prl`."""
    theirs = {ours: name for name, ours in HEAD.items()}
    return {f"{theirs[name]}.{kind}": value for key, value in state.items() for name, _, kind in [key.rpartition(".")]}
