"""Where encoders of `transformers` come from: a local folder, or the hub's cache. Nothing is run that a file holds.

Downloads: a model that is not in the cache is fetched only where the environment variable `SIGSSL_ALLOW_DOWNLOAD` is 1 - a
variable, so that worker processes and every verb obey it alike; then its licence and size are printed first. Otherwise the network
is not touched, and the error says how to get the model as a folder.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors
import torch

from sigssl.errors import UserError
from sigssl.interop.transformers import FAMILIES, MASK, TransformersEncoder, classes
from sigssl.optional import require
from sigssl.training.card import front_matter
from sigssl.training.checkpoint import sha256
from sigssl.training.foreign import ALLOW, Foreign, downloads_allowed
from sigssl.types import Encoder

CONFIG = "config.json"
SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"
WEIGHTS = (SAFE, f"{SAFE}.index.json", PICKLED, f"{PICKLED}.index.json")  # in the order in which they are looked for
UNREADABLE = (
    OSError, ValueError, RuntimeError, KeyError, EOFError, ImportError, pickle.UnpicklingError, safetensors.SafetensorError,
)  # fmt: skip
SMALL = ("config.json", "preprocessor_config.json", "README.md")


def from_folder(path: str | Path) -> Foreign:
    """The encoder in a folder that `save_pretrained` or `hf download` wrote: config.json and weights.

    `model.safetensors` is read; where there is only `pytorch_model.bin`, that, as tensors and plain values alone (no code in it is
    run). Heads (ForCTC, ForPreTraining ...) are left out.

    Raises:
        UserError: not such a folder, a family that is not known here, or no weights.
    """
    return _foreign(str(Path(path).resolve()), Path(path), str(path))


def from_hub(repository: str | Path) -> Foreign:
    """An encoder of the Hugging Face hub, `ORG/NAME` or `ORG/NAME@REVISION`, from the local cache.

    Raises:
        UserError: it is not in the cache and downloads are not allowed, or the download failed.
        MissingExtraError: transformers is not installed.
    """
    name, _, revision = str(repository).partition("@")
    if name.count("/") > 1 or not name.strip("/"):
        raise UserError(f"hf:{repository}: expected hf:ORG/NAME or hf:ORG/NAME@REVISION; a folder is named without 'hf:'.")
    folder = _cached(name, revision or None) or _downloaded(name, revision or None)
    return _foreign(f"hf:{repository}", folder, f"hf:{repository}")


def _foreign(name: str, folder: Path, where: str) -> Foreign:
    settings = read_json(folder / CONFIG)
    family = str(settings.get("model_type"))
    if family not in FAMILIES:
        raise UserError(f"{where}: {CONFIG} says model_type {family!r}; speech encoders known here: {', '.join(FAMILIES)}.")
    weights_of(folder, where)
    return Foreign(name, lambda: read_encoder(folder, where), lambda: _meta(folder, where))


def read_encoder(folder: Path, where: str = "") -> Encoder:
    """The encoder of a folder, in eval mode, in float32.

    Raises:
        UserError: damaged weights, weights that hold code, or weights that lack a part of the encoder.
    """
    where = where or str(folder)
    weights = weights_of(folder, where)
    config = read_json(folder / CONFIG)
    with torch.device("meta"):  # no time for weights that are replaced
        encoder = TransformersEncoder(config, *_input(folder, config))
    settings_class, model_class = classes(config["model_type"])
    try:
        with _quiet():
            model, report = model_class.from_pretrained(
                str(folder), config=settings_class.from_dict(encoder.config), local_files_only=True, output_loading_info=True
            )
    except UNREADABLE as error:
        advice = (
            "copy it again"
            if weights.name.startswith(SAFE)
            else f"a pickled file is read as tensors and plain values only: ask its author for {SAFE}"
        )
        raise UserError(f"{weights}: cannot be read ({str(error).splitlines()[0]}); {advice}.") from error
    missing = sorted(set(report["missing_keys"]) - {MASK})
    if missing:
        raise UserError(
            f"{weights}: lacks {len(missing)} tensors of the encoder, such as {missing[0]}; it is another model's file."
        )
    encoder.adopt(model.float())
    return encoder.eval()


def weights_of(folder: Path, where: str = "") -> Path:
    """The file of weights that is read, or the index of several.

    Raises:
        UserError: there is none.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"{where or folder}: has {CONFIG} and no weights; expected {SAFE} (or {PICKLED}) beside it: copy or download it too."
    )


def _input(folder: Path, config: dict[str, Any]) -> tuple[bool, int]:
    """Whether signals are normalised, and their rate: as the checkpoint's feature extractor says, else by its front end."""
    file = folder / "preprocessor_config.json"
    said = read_json(file) if file.is_file() else {}
    by_layer = config.get("feat_extract_norm", "layer" if config["model_type"] == "data2vec-audio" else "group") == "layer"
    return bool(said.get("do_normalize", by_layer)), int(said.get("sampling_rate", 16000))


def _meta(folder: Path, where: str) -> dict[str, Any]:
    config = read_json(folder / CONFIG)
    settings = classes(config["model_type"])[0].from_dict(config)
    hop = 1
    for stride in settings.conv_stride:
        hop *= int(stride)
    normalize, rate = _input(folder, config)
    meta = {
        "sample_rate": rate,
        "hop": hop,
        "dim": int(settings.hidden_size),
        "num_layers": int(settings.num_hidden_layers),
        "method": f"transformers {config['model_type']}",
        "source": where,
        "normalize": normalize,
        "weights_sha256": _digest(weights_of(folder, where)),
    }
    card = front_matter(folder / "README.md")
    return meta | ({"licence": str(card["license"])} if card.get("license") else {})


def _digest(file: Path) -> str:
    """SHA-256 of the weights; of an index and all the files that it names."""
    if not file.name.endswith(".index.json"):
        return _sha256(file, file.stat().st_mtime_ns)
    parts = sorted(set(read_json(file).get("weight_map", {}).values()))
    digests = [_sha256(file.parent / part, (file.parent / part).stat().st_mtime_ns) for part in parts]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


@functools.lru_cache(maxsize=64)
def _sha256(file: Path, changed: int) -> str:
    return sha256(file)


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object; UserError where there is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{file}: is no readable JSON ({error}).") from error
    if not isinstance(content, dict):
        raise UserError(f"{file}: expected a JSON object, found {type(content).__name__}.")
    return content


def _cached(name: str, revision: str | None) -> Path | None:
    hub = require("huggingface_hub", "to find models of the Hugging Face hub")
    try:
        config = hub.try_to_load_from_cache(name, CONFIG, revision=revision)
    except hub.errors.HFValidationError as error:
        raise UserError(f"hf:{name}: is no name of the hub ({error}); expected hf:ORG/NAME.") from None
    folder = Path(config).parent if isinstance(config, str) else None
    return folder if folder and any((folder / weights).is_file() for weights in WEIGHTS) else None


def _downloaded(name: str, revision: str | None) -> Path:
    """Fetch a model, once its licence and size are printed; UserError where that is not allowed or does not work."""
    get = f"hf download {name} --local-dir FOLDER"
    if not downloads_allowed():
        raise UserError(
            f"hf:{name}: is not in the local cache of the Hugging Face hub, and nothing is downloaded unasked. "
            f"Either allow it with {ALLOW}=1 (licence and size are shown first), or get it where there is a network, "
            f"'{get}', and pass FOLDER in place of hf:{name}."
        )
    hub = require("huggingface_hub", "to download models of the Hugging Face hub")
    try:
        info = hub.HfApi().model_info(name, revision=revision, files_metadata=True)
        sizes = {file.rfilename: int(file.size or 0) for file in info.siblings or []}
        wanted = _wanted(sizes, name)
        licence = getattr(info.card_data, "license", None) or "not stated: ask its authors"
        total = sum(sizes[file] for file in wanted) / 1e6
        print(f"hf:{name}: licence {licence}; {total:.0f} MB to download ({', '.join(wanted)})", file=sys.stderr)  # noqa: T201
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=wanted))
    except (hub.errors.HfHubHTTPError, OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"hf:{name}: cannot be downloaded ({type(error).__name__}: {reason}). "
            f"Get it elsewhere, '{get}', and pass FOLDER in place of hf:{name}."
        ) from error


def _wanted(sizes: dict[str, int], name: str) -> list[str]:
    for first in WEIGHTS:
        if first in sizes:
            stem, kind = (first.removesuffix(".index.json")).rsplit(".", 1)
            weights = [
                f for f in sizes if f == first or (first.endswith(".index.json") and f.startswith(stem) and f.endswith(kind))
            ]
            return [file for file in (*SMALL, *sorted(weights)) if file in sizes]
    raise UserError(f"hf:{name}: holds no {SAFE} and no {PICKLED}; it is no model that can be read here.")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Transformers' reports about heads that are left out, and its progress bars, held back."""
    logging = require("transformers", "for encoders of Hugging Face").utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
