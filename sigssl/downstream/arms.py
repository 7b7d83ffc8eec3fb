"""What is compared: encoders, the same encoders untrained, and surface features dressed as encoders."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sigssl.config import describe
from sigssl.downstream import stored
from sigssl.downstream.protocol import Fold
from sigssl.downstream.settings import ProbeSettings
from sigssl.errors import UserError, nearest
from sigssl.features import MFCC, Deltas, Extractor, LogMel
from sigssl.features.base import CMVN
from sigssl.training.checkpoint import load_encoder, read_meta, untrained
from sigssl.types import Encoder, Hidden


class FeatureEncoder(nn.Module):
    """Features as an encoder with no layers: one state, the frames themselves.

    Args:
        features: from waveform to frames.
    """

    num_layers = 0

    def __init__(self, features: Extractor) -> None:
        super().__init__()
        self.features = features
        self.dim, self.hop, self.sample_rate = features.dim, features.hop, features.sample_rate

    def forward(self, x: Float[Tensor, "batch 1 samples"], lengths: Int[Tensor, " batch"]) -> Hidden:
        """Frames of mono signals."""
        frames, counts = self.features(x[:, 0], lengths)
        return Hidden([frames], counts)

    def stream(self, blocks: Callable[[], Iterator[Float[Tensor, " samples"]]]) -> Iterator[list[Float[Tensor, "time dim"]]]:
        """Frames of one recording of any length, piece by piece; see :meth:`sigssl.features.Extractor.stream`."""
        return ([frames] for frames in self.features.stream(blocks))


@dataclass(frozen=True)
class Arm:
    """One row of the table.

    Attributes:
        name: in tables and figures.
        what: one line that says what it is.
        encoder_for: the encoder of a fold.
        key_for: folds with the same key have the same encoder, so that its states are computed once.
        pool: pooling of utterances.
        segments: parts in time that are pooled apart.
        model_for: folder of the trained model of a fold; None for baselines.
        rows_for: where the arm takes stored signals: what makes a row of each, in a fold; None: the encoder reads recordings.
    """

    name: str
    what: str
    encoder_for: Callable[[Fold], Encoder]
    key_for: Callable[[Fold], str]
    pool: str
    segments: int
    model_for: Callable[[Fold], str] | None = None
    rows_for: Callable[[Fold], stored.Rows] | None = None


# name -> derivatives, parts in time that are pooled apart
LOGMEL = {"logmel": (0, 1), "logmel-thirds": (0, 3), "logmel-deltas": (2, 1), "logmel-deltas-thirds": (2, 3)}
MFCC_ARM, UNTRAINED = "mfcc", "untrained"
BASELINES = (*LOGMEL, MFCC_ARM, UNTRAINED, *stored.SURFACE)


def make_arms(models: list[str], settings: ProbeSettings) -> list[Arm]:
    """The arms of a run: models first, then the baselines in the order of the settings.

    Args:
        models: run or encoder folders; `{fold}` stands for the fold's name, `{index}` for its number from 1.
        settings: names of the baselines and the pooling of encoders.

    Raises:
        UserError: an unknown baseline, or an untrained one without a model to be made like.
    """
    names = _names(models)
    arms = [model_arm(path, name, settings) for path, name in zip(models, names, strict=True)]
    for baseline in settings.baselines:
        if baseline in LOGMEL or baseline == MFCC_ARM:
            arms.append(surface_arm(baseline, settings))
        elif baseline in stored.SURFACE:
            arms.append(stored_arm(baseline, settings))
        elif baseline == UNTRAINED:
            if not models:
                raise UserError("baseline 'untrained' is the model with random weights: name a --model.")
            arms += [untrained_arm(p, n if len(models) > 1 else "", settings) for p, n in zip(models, names, strict=True)]
        else:
            raise UserError(f"no baseline {baseline!r}.{nearest(baseline, BASELINES)} Known: {', '.join(BASELINES)}.")
    if not arms:
        raise UserError("nothing to probe: name a --model or a baseline.")
    return arms


def on_store(arms: list[Arm]) -> list[Arm]:
    """The same arms on stored signals: models must be encoders of epochs.

    Raises:
        UserError: an arm that needs sound.
    """
    sound = [arm.name for arm in arms if arm.name in LOGMEL or arm.name == MFCC_ARM]
    if sound:
        raise UserError(
            f"baseline {sound[0]!r} is for sound; on a store of signals choose of {', '.join(stored.SURFACE)}, untrained."
        )
    return [arm if arm.rows_for is not None else replace(arm, rows_for=_encoded(arm)) for arm in arms]


def _encoded(arm: Arm) -> Callable[[Fold], stored.Rows]:
    return lambda fold: stored.encoded(arm.encoder_for(fold))


def stored_arm(name: str, settings: ProbeSettings) -> Arm:
    """A baseline on stored signals; needs --store."""

    def no_encoder(fold: Fold) -> Encoder:
        raise UserError(f"baseline {name!r} reads stored signals: name them with --store.")

    rows = stored.SURFACE[name]
    return Arm(name, stored.WHAT[name], no_encoder, lambda fold: "", settings.pool, 1, rows_for=lambda fold: rows)


def model_arm(path: str, name: str, settings: ProbeSettings) -> Arm:
    """A pretrained encoder, or one for each fold."""

    def folder(fold: Fold) -> str:
        return path.replace("{fold}", fold.name).replace("{index}", str(fold.index))

    what = f"{path}, {_pooling(settings)}"
    return Arm(name, what, lambda fold: load_encoder(folder(fold)), folder, settings.pool, settings.segments, folder)


def untrained_arm(path: str, name: str, settings: ProbeSettings) -> Arm:
    """The same architecture with the random weights it starts from, built anew from the model's configuration."""
    trained = model_arm(path, name, settings)

    def described(fold: Fold) -> dict[str, Any]:
        assert trained.model_for is not None
        return describe(load_encoder(trained.model_for(fold)))

    def encoder(fold: Fold) -> Encoder:
        assert trained.model_for is not None
        loaded: Any = load_encoder(trained.model_for(fold))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            made: Any = untrained(loaded, path)
        return made

    def key(fold: Fold) -> str:  # the encoders of two folds differ where each has its own corpus's CMVN statistics
        return f"{UNTRAINED} {hashlib.sha256(repr(described(fold)).encode()).hexdigest()[:8]}"

    title = f"untrained {name}".strip()
    what = f"the encoder of {path} with random weights, {_pooling(settings)}"
    return Arm(title, what, encoder, key, settings.pool, settings.segments)


def surface_arm(name: str, settings: ProbeSettings) -> Arm:
    """A baseline of surface features with its own pooling.

    Pooled features keep their level: after mean and variance normalisation the mean over an utterance is 0 and the standard
    deviation 1, so that the baseline would be at chance by construction (s3prl issue 275). They take 40 bands, with which
    pooled baselines do better on unseen speakers than with 80. Single frames are normalised and take 80.
    """
    order, segments = LOGMEL.get(name, (2, 1))
    deltas = Deltas(order=order) if order else None
    cmvn: CMVN = "utterance" if settings.level == "frame" else None
    bands = 80 if settings.level == "frame" else 40

    def make() -> Extractor:
        return MFCC(deltas=deltas, cmvn=cmvn) if name == MFCC_ARM else LogMel(bands, deltas=deltas, cmvn=cmvn)

    what = "13 MFCC" if name == MFCC_ARM else f"{bands} log-mel bands"
    what += " + deltas + double deltas" if order else ""
    what += ", CMVN per utterance" if cmvn else f", no CMVN, mean+std over {'each third of ' if segments == 3 else ''}the utterance"
    return Arm(name, what, lambda fold: FeatureEncoder(make()), lambda fold: "", "mean+std", segments)


def pretraining_speakers(folder: str | Path) -> list[str] | None:
    """The speakers that a model's own record names as pretrained on (`meta.data.speakers`); None where it keeps none."""
    data = read_meta(folder).get("data")
    speakers = data.get("speakers") if isinstance(data, dict) else None
    return [str(s) for s in speakers] if speakers is not None else None


def _pooling(settings: ProbeSettings) -> str:
    if settings.level == "frame":
        return "its frames"
    return f"{settings.pool} over {f'each of {settings.segments} parts of ' if settings.segments > 1 else ''}the utterance"


def _names(models: list[str]) -> list[str]:
    """Short distinct names: the folder's, with as many parents as it takes."""
    paths = [Path(m.replace("{fold}", "").replace("{index}", "").rstrip("/_-.")) for m in models]
    for depth in range(1, max((len(p.parts) for p in paths), default=0) + 1):
        names = ["/".join(p.parts[-depth:]) for p in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{p} ({i})" for i, p in enumerate(paths, 1)]
