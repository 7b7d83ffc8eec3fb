"""Encoders that other toolkits made, by name: which names there are, and where in sigssl the code stands that opens them.

Training does not import interop, which stands above it. As a configuration names its classes, a name here names its opener by a
dotted path, which is imported when somebody asks for such an encoder; so one door serves all verbs and nothing below depends on
what is above.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from sigssl.methods.s3prl_layout import import_s3prl
from sigssl.types import Encoder

# What stands before the colon -> opener of what stands behind it
SCHEMES = {"hf": "sigssl.interop.transformers_files.from_hub", "s3prl": "sigssl.interop.s3prl_upstream.from_name"}
# A file in a folder that shows whose the folder is -> opener of the folder
FOLDERS = {"config.json": "sigssl.interop.transformers_files.from_folder"}
OWN = ("config.yaml", "encoder/config.yaml")  # a folder of sigssl is never foreign, whatever else lies in it

ALLOW = "SIGSSL_ALLOW_DOWNLOAD"  # a variable and no option, so that every verb and every worker process obeys it alike


class Foreign(NamedTuple):
    """An encoder that is not in sigssl's own format.

    Attributes:
        name: what opens it from any working directory and any process.
        load: reads it, in eval mode on the CPU.
        meta: `sample_rate`, `hop`, `dim`, `num_layers`, `weights_sha256` and `source`, if possible without reading the weights.
    """

    name: str
    load: Callable[[], Encoder]
    meta: Callable[[], dict[str, Any]]


def foreign(model: str | Path) -> Foreign | None:
    """The foreign encoder that `model` names; None where it can only be one of sigssl's own.

    Args:
        model: `hf:ORG/NAME`, `s3prl:NAME`, `s3prl:NAME:PATH`, a folder of `transformers`, or a checkpoint file of s3prl's.

    Raises:
        UserError: the name has a form of these, and there is no such thing.
        MissingExtraError: the other toolkit is not installed.
    """
    scheme, colon, rest = str(model).partition(":")
    if colon and scheme in SCHEMES:
        return _opener(SCHEMES[scheme])(rest)
    path = Path(model)
    if path.is_file():
        return Foreign(str(path.resolve()), lambda: import_s3prl(path).encoder, lambda: _file_meta(path))
    for file, opener in FOLDERS.items():
        if (path / file).is_file() and not any((path / own).is_file() for own in OWN):
            return _opener(opener)(path)
    return None


def downloads_allowed() -> bool:
    """Whether the environment variable :data:`ALLOW` lets models be fetched from the network."""
    return os.environ.get(ALLOW, "").lower() in ("1", "true", "yes")


def facts(encoder: object) -> dict[str, int]:
    """What every encoder says of itself."""
    return {name: int(getattr(encoder, name)) for name in ("sample_rate", "hop", "dim", "num_layers")}


def _file_meta(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {**facts(import_s3prl(path).encoder), "source": f"s3prl checkpoint {path.name}", "weights_sha256": digest}


def _opener(dotted: str) -> Callable[[str | Path], Foreign]:
    module, _, name = dotted.rpartition(".")
    opener: Callable[[str | Path], Foreign] = getattr(importlib.import_module(module), name)
    return opener
