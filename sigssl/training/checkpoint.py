"""A model on disk: a folder with `model.safetensors` (weights) and `config.yaml` (how it is built, and where it comes from).

No pickle: what is loaded is numbers and the names of classes inside sigssl. Nothing here needs Lightning, so that loading is quick.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import yaml
from torch import nn

from sigssl import __version__
from sigssl.config import build, describe
from sigssl.errors import UserError
from sigssl.training.card import encoder_card
from sigssl.training.foreign import facts, foreign
from sigssl.types import Encoder

WEIGHTS = "model.safetensors"
CONFIG = "config.yaml"
ENCODER = "encoder"  # the subfolder of a run that holds its final encoder
CARD = "README.md"
FORMAT = 1


def save_encoder(folder: str | Path, encoder: nn.Module, meta: dict[str, Any] | None = None, card: str = "") -> Path:
    """Write an encoder for use, with a model card, whole or not at all: what was in `folder` stays until the new one is done.

    Args:
        folder: where to; an encoder that is there already is replaced.
        encoder: satisfies :class:`sigssl.types.Encoder`; its constructor keeps its arguments (:func:`sigssl.config.describe`).
        meta: plain values to keep beside it (training data, step, run); sample rate, hop, dim and versions are added here.
        card: text of the model card; by default it says what `meta` does (:func:`sigssl.training.card.encoder_card`).

    Returns:
        The folder.
    """
    folder = Path(folder)
    meta = {**facts(encoder), **(meta or {})}
    name = folder.resolve().parent.name if folder.name == ENCODER else folder.resolve().name
    card = card or encoder_card(meta, name, hasattr(encoder, "epoch_seconds"))
    return save_module(folder, ENCODER, encoder, meta, {CARD: card})


def save_module(
    folder: str | Path,
    section: str,
    module: nn.Module,
    meta: dict[str, Any],
    texts: dict[str, str] | None = None,
    described: dict[str, Any] | None = None,
) -> Path:
    """Write a module for use, whole or not at all; its constructor keeps its arguments (:func:`sigssl.config.describe`).

    Args:
        folder: where to; a model that is there already is replaced.
        section: key of `config.yaml` under which the constructor stands ("encoder", "stager").
        module: what to keep.
        meta: plain values beside it; versions and the hash of the weights are added.
        texts: further files, name -> content (a model card).
        described: how the module is built, where :func:`sigssl.config.describe` cannot say it.

    Returns:
        The folder.

    Raises:
        UserError: the folder holds something else.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or (folder / CONFIG).is_file())):
        raise UserError(f"{folder}: exists and holds something other than {_a(section)}; name another folder or remove it.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        safetensors.torch.save_model(module, str(temporary / WEIGHTS), metadata={"format": "pt"})
        config = {
            "format": FORMAT,
            section: described or describe(module),
            "meta": {"versions": versions(), "weights_sha256": sha256(temporary / WEIGHTS), **meta},
        }
        for name, text in (texts or {}).items():
            (temporary / name).write_text(text, encoding="utf-8")
        (temporary / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
        (temporary / WEIGHTS).chmod(0o644)  # safetensors writes for its owner alone
        temporary.chmod(0o755)
        _swap(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def load_encoder(path: str | Path, trust: tuple[str, ...] = ("sigssl",)) -> Encoder:
    """Read an encoder that :func:`save_encoder` wrote, or one of another toolkit.

    Args:
        path: its folder, a run folder (`exp/tera`) that holds it as `encoder/`, or what :func:`sigssl.training.foreign.foreign`
            knows: a checkpoint file of s3prl's TERA family, a folder of `transformers`, `hf:ORG/NAME`, `s3prl:NAME[:PATH]`.
        trust: top-level packages whose classes its configuration may name.

    Returns:
        The encoder in eval mode on the CPU.

    Raises:
        UserError: nothing there, damaged weights, weights that do not fit the configuration, or a class outside of `trust`.
    """
    other = foreign(path)
    if other is not None:
        return other.load()
    encoder: Encoder = load_module(encoder_folder(path), ENCODER, trust)[0]  # type: ignore[assignment]
    return encoder


def untrained(encoder: nn.Module, where: str = "config") -> nn.Module:
    """The same architecture with new weights, in eval mode; drawn from torch's global generator.

    Args:
        encoder: what is to be imitated. One that is made of its weights (an upstream of s3prl) says itself how, by `untrained()`.
        where: its name, for errors.
    """
    own: Callable[[], nn.Module] | None = getattr(encoder, "untrained", None)
    made: nn.Module = own() if own is not None else build(describe(encoder), where=where)
    return made.eval()


def load_module(folder: Path, section: str, trust: tuple[str, ...] = ("sigssl",)) -> tuple[nn.Module, dict[str, Any]]:
    """Read what :func:`save_module` wrote.

    Returns:
        The module in eval mode on the CPU, and its meta.

    Raises:
        UserError: damaged weights, weights that do not fit the configuration, or a class outside of `trust`.
    """
    config = read_section(folder, section)
    module = build(config[section], where=str(folder / CONFIG), trust=trust)
    load_weights(module, folder, section)
    return module.eval(), dict(config.get("meta", {}))


def load_weights(module: nn.Module, folder: Path, section: str) -> None:
    """Read the weights of a module that was built as `config.yaml` describes it.

    Raises:
        UserError: damaged weights, or weights that do not fit the module.
    """
    weights = folder / WEIGHTS
    expected = read_section(folder, section).get("meta", {}).get("weights_sha256")
    if expected is not None and sha256(weights) != expected:
        raise UserError(
            f"{weights}: is damaged or not the file that {CONFIG} beside it describes (SHA-256 differs); copy both again."
        )
    try:
        safetensors.torch.load_model(module, str(weights), strict=True)
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{weights}: cannot be read ({error}); copy or export it again.") from error
    except RuntimeError as error:
        raise UserError(f"{weights}: does not fit the {section} that {CONFIG} describes: {error}") from error


def model_name(path: str | Path) -> str:
    """What names the same encoder from any working directory: the resolved folder or file, or a name such as `hf:ORG/NAME`.

    Raises:
        UserError: there is none.
    """
    other = foreign(path)
    return other.name if other is not None else str(encoder_folder(path).resolve())


def encoder_folder(path: str | Path) -> Path:
    """The folder of one of sigssl's own that holds the weights, given it or a run folder; UserError where there is none."""
    path = Path(path)
    for folder in (path, path / ENCODER):
        if (folder / WEIGHTS).is_file() and (folder / CONFIG).is_file():
            return folder
    if (path / "checkpoints").is_dir():
        raise UserError(f"{path}: this run has no finished encoder yet; `sigssl export {path} OUT` makes one from a checkpoint.")
    what = "has neither" if path.is_dir() else "is no folder: it should hold"
    raise UserError(
        f"{path}: {what} {WEIGHTS} and {CONFIG}, nor a subfolder {ENCODER}/ with them; name a run, an exported encoder, "
        f"a folder of transformers (config.json), hf:ORG/NAME or s3prl:NAME."
    )


def read_meta(path: str | Path) -> dict[str, Any]:
    """What was kept beside the weights (sample rate, hop, dim, data, versions ...), if possible without loading them."""
    other = foreign(path)
    if other is not None:
        return other.meta()
    return dict(read_section(encoder_folder(path), ENCODER).get("meta", {}))


def versions() -> dict[str, str]:
    """Versions of what computed, for configurations and reports."""
    return {"sigssl": __version__, "torch": str(torch.__version__), "python": platform.python_version()}


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_section(folder: Path, section: str) -> dict[str, Any]:
    """The configuration of a model's folder, checked to hold `section`; UserError where it does not."""
    file = folder / CONFIG
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: is no readable YAML ({error}).") from error
    if not isinstance(config, dict) or not isinstance(config.get(section), dict):
        raise UserError(
            f"{file}: has no section `{section}:` with class_path and init_args; it is not {_a(section)}'s configuration."
        )
    if config.get("format", FORMAT) > FORMAT:
        raise UserError(
            f"{file}: was written by a newer sigssl (format {config['format']}, this one reads {FORMAT}); update sigssl."
        )
    return config


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _swap(new: Path, folder: Path) -> None:
    """Put the finished `new` in place of `folder`; a reader sees the old one, none, or the new one, never a mixture."""
    if folder.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        folder.replace(old)  # an empty folder may be renamed over
        new.replace(folder)
        shutil.rmtree(old)
    else:
        new.replace(folder)
