"""What s3prl 0.4.18 needs before it imports beside a current torchaudio; see :func:`install`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

from sigssl.errors import UserError
from sigssl.optional import require

GONE = ("apply_effects_tensor", "apply_effects_file")


def install() -> None:
    """Give torchaudio the names that s3prl looks up while importing and that torchaudio 2.9 dropped.

    These are `torchaudio.set_audio_backend`, which did nothing by then, and the module `torchaudio.sox_effects`, whose functions
    here raise when they are called. What torchaudio still has is left alone; a second call changes nothing.

    Raises:
        MissingExtraError: torchaudio is absent or does not import.
    """
    torchaudio = require("torchaudio", "to run s3prl")
    if not hasattr(torchaudio, "set_audio_backend"):
        torchaudio.set_audio_backend = _no_backend  # type: ignore[attr-defined]
    if not hasattr(torchaudio, "sox_effects"):
        module = ModuleType("torchaudio.sox_effects", "Stands in for what torchaudio 2.9 removed.")
        for name in GONE:
            setattr(module, name, _refusal(name))
        sys.modules[module.__name__] = module
        torchaudio.sox_effects = module  # type: ignore[attr-defined]


def import_upstream() -> Any:
    """s3prl's `S3PRLUpstream` class, behind the shim.

    Raises:
        MissingExtraError: s3prl or torchaudio is absent or does not import.
    """
    install()
    return require("s3prl.nn", "to run its upstreams").S3PRLUpstream


def _no_backend(*_: object, **__: object) -> None:
    """Torchaudio has no backends to choose from any more."""


def _refusal(name: str) -> Callable[..., NoReturn]:
    def gone(*_: object, **__: object) -> NoReturn:
        raise UserError(f"torchaudio.sox_effects.{name} was removed from torchaudio; this s3prl upstream or data set cannot run.")

    return gone
