"""What s3prl 0.4.18 needs before it imports and runs beside current torchaudio and huggingface_hub; the only place that knows.

Two depths: :func:`install` is enough to import s3prl and run its upstreams; :func:`install_for_runners` adds what its training
scripts and their data sets look for. Both only add what is missing, and neither happens at `import sigssl`. s3prl's pretraining
(`run_pretrain.py`) is not mended: it needs an older matplotlib too.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from sigssl.errors import UserError
from sigssl.optional import available, require

GONE = ("apply_effects_tensor", "apply_effects_file")
STAND_IN = "Stands in for what torchaudio 2.9 removed."
Effects = Sequence[Sequence[str]]


class AudioInfo(NamedTuple):
    """What `torchaudio.info` told of a file."""

    sample_rate: int
    num_frames: int
    num_channels: int
    bits_per_sample: int
    encoding: str


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
        module = ModuleType("torchaudio.sox_effects", STAND_IN)
        for name in GONE:
            setattr(module, name, _refusal(name))
        sys.modules[module.__name__] = module
        torchaudio.sox_effects = module  # type: ignore[attr-defined]


def install_for_runners() -> None:
    """Beyond :func:`install`, what `run_downstream.py` and its data sets look up. For a process of its own, such as the launcher's.

    - `huggingface_hub.HfFolder` and `Repository`, gone since 1.0: names that refuse to be used (by `--hub huggingface`).
    - `torchaudio.load` and `torchaudio.info`, where there is no TorchCodec for them: by soundfile.
    - `argparse.Namespace` among what `torch.load` lets in, since s3prl's checkpoints hold their command line in one.
    - `torchaudio.sox_effects`: the effects channels, rate and gain, which are those that s3prl's data sets ask for.

    Raises:
        MissingExtraError: torchaudio or huggingface_hub is absent or does not import.
    """
    install()
    torch.serialization.add_safe_globals([argparse.Namespace])
    torchaudio: Any = sys.modules["torchaudio"]
    hub = require("huggingface_hub", "to run s3prl's scripts")
    for name in ("HfFolder", "Repository"):
        if not hasattr(hub, name):
            setattr(hub, name, _absent_class(name))
    if not hasattr(torchaudio, "info"):
        torchaudio.info = info
    if not available("torchcodec"):
        torchaudio.load = load
    if torchaudio.sox_effects.__doc__ == STAND_IN:
        torchaudio.sox_effects.apply_effects_tensor = apply_effects_tensor
        torchaudio.sox_effects.apply_effects_file = apply_effects_file


def import_upstream() -> Any:
    """s3prl's `S3PRLUpstream` class, behind the shim.

    Raises:
        MissingExtraError: s3prl or torchaudio is absent or does not import.
    """
    install()
    with kept_random():
        return require("s3prl.nn", "to run its upstreams").S3PRLUpstream


@contextlib.contextmanager
def kept_random(seed: int | None = None) -> Iterator[None]:
    """Restores the global random states behind s3prl, which seeds them when it builds an upstream; `seed` sets them inside."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@contextlib.contextmanager
def no_downloads() -> Iterator[None]:
    """While it lasts, an upstream that would fetch its checkpoint is refused; one that is in s3prl's cache loads."""
    places: list[tuple[Any, str]] = [(torch.hub, "download_url_to_file")]
    download = require("s3prl.util.download", "to run its upstreams")
    places += [(download, "_download_url_to_file"), (download, "_download_url_to_file_requests")]
    before = [getattr(module, name) for module, name in places]
    constants = require("huggingface_hub", "to run s3prl's upstreams").constants
    offline = constants.HF_HUB_OFFLINE

    def refuse(url: str, *_: object, **__: object) -> NoReturn:
        raise UserError(f"its checkpoint {url} is not in s3prl's cache, and nothing is downloaded unasked")

    try:
        for module, name in places:
            setattr(module, name, refuse)
        constants.HF_HUB_OFFLINE = True
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        for (module, name), function in zip(places, before, strict=True):
            setattr(module, name, function)


def load(
    uri: str | Path,
    frame_offset: int = 0,
    num_frames: int = -1,
    normalize: bool = True,
    channels_first: bool = True,
    **_: object,
) -> tuple[Tensor, int]:
    """`torchaudio.load` by soundfile: float32 samples [C, S] ([S, C] unless `channels_first`) and their rate."""
    samples, rate = soundfile.read(str(uri), frames=num_frames, start=frame_offset, dtype="float32", always_2d=True)
    return torch.from_numpy(np.ascontiguousarray(samples.T if channels_first else samples)), int(rate)


def info(uri: str | Path, **_: object) -> AudioInfo:
    """`torchaudio.info` by soundfile."""
    told = soundfile.info(str(uri))
    bits = {"PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "PCM_U8": 8, "PCM_S8": 8, "FLOAT": 32, "DOUBLE": 64}
    return AudioInfo(int(told.samplerate), int(told.frames), int(told.channels), bits.get(told.subtype, 0), str(told.subtype))


def apply_effects_file(path: str | Path, effects: Effects, channels_first: bool = True, **_: object) -> tuple[Tensor, int]:
    """The effects that :func:`apply_effects_tensor` knows, on a file."""
    samples, rate = load(path)
    samples, rate = apply_effects_tensor(samples, rate, effects)
    return (samples if channels_first else samples.T), rate


def apply_effects_tensor(tensor: Tensor, sample_rate: int, effects: Effects, channels_first: bool = True) -> tuple[Tensor, int]:
    """`channels 1`, `rate HERTZ`, `gain DECIBEL` on samples, in their order.

    Raises:
        UserError: another effect.
    """
    samples = tensor if channels_first else tensor.T
    for name, *values in effects:
        if name == "channels" and values == ["1"]:
            samples = samples.mean(0, keepdim=True)
        elif name == "rate" and len(values) == 1:
            if int(values[0]) != sample_rate:
                samples = torch.from_numpy(soxr.resample(samples.T.numpy(), sample_rate, int(values[0]), "HQ").T.copy())
            sample_rate = int(values[0])
        elif name == "gain" and len(values) == 1:
            samples = samples * 10 ** (float(values[0]) / 20)
        else:
            raise UserError(
                f"sox effect {' '.join([name, *values])!r}: torchaudio has no sox any more; known here: channels 1, rate, gain."
            )
    return (samples if channels_first else samples.T), sample_rate


def _no_backend(*_: object, **__: object) -> None:
    """Torchaudio has no backends to choose from any more."""


def _absent_class(name: str) -> type:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise UserError(
            f"huggingface_hub.{name} was removed in 1.0; this option of s3prl's script cannot run. Get the files yourself."
        )

    return type(name, (), {"__init__": refuse, "save_token": refuse, "get_token": refuse})


def _refusal(name: str) -> Callable[..., NoReturn]:
    def gone(*_: object, **__: object) -> NoReturn:
        raise UserError(f"torchaudio.sox_effects.{name} was removed from torchaudio; this s3prl upstream or data set cannot run.")

    return gone
