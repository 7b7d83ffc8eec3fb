"""Guarded imports of optional libraries: an absent one and a broken one both give a message that names the remedy."""

from __future__ import annotations

import importlib
from types import ModuleType

from sigssl.errors import MissingExtraError

# library -> the extra of pyproject.toml that installs it ("" where none can: the message then names the library itself)
EXTRA = {
    "dask": "cluster",
    "distributed": "cluster",
    "espeakng_loader": "demo",
    "tensorboard": "tensorboard",
    "huggingface_hub": "hf",
    "transformers": "hf",
    "flashlight": "asr",
    "lhotse": "lhotse",
    "jiwer": "asr",
    "sentencepiece": "asr",
    "edfio": "sleep",
    "mne": "sleep",
    "yasa": "sleep",
}


def require(name: str, purpose: str) -> ModuleType:
    """Import an optional library inside the function that needs it.

    Args:
        name: module to import, dotted names allowed.
        purpose: what it is needed for, as it would end the sentence "X is needed ...".

    Returns:
        The imported module.

    Raises:
        MissingExtraError: absent (ImportError) or installed but broken (OSError, as with a CUDA build beside a CPU torch).
    """
    root = name.split(".")[0]
    extra = EXTRA.get(root, "")
    remedy = f"pip install 'sigssl[{extra}]'" if extra else f"pip install {root.replace('_', '-')}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{root} is needed {purpose} and is not installed ({error}). Install it: {remedy}") from error
    except (ImportError, OSError, AttributeError) as error:
        raise MissingExtraError(
            f"{root} is needed {purpose}; it is installed but does not import: {type(error).__name__}: {error}. "
            f"Try to reinstall it: {remedy}"
        ) from error


def available(name: str) -> bool:
    """Whether `name` really imports (it is imported to find out)."""
    try:
        require(name, "here")
    except MissingExtraError:
        return False
    return True
