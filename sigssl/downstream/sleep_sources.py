"""Where nights come from: a folder of band powers, or stored signals seen through an epoch encoder."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sigssl.config import build, describe
from sigssl.data.datadir import DataDir
from sigssl.data.epoch_signals import read_signal_nights
from sigssl.data.feature_nights import Night
from sigssl.data.store import StoreInfo
from sigssl.downstream.arms import pretraining_speakers
from sigssl.downstream.fronts import BandPowerFront, EncoderFront
from sigssl.downstream.sleep import Source
from sigssl.downstream.sleep_settings import Center, SleepSettings
from sigssl.downstream.sleep_split import SubjectFold
from sigssl.downstream.tuning import Tuned
from sigssl.errors import UserError
from sigssl.features.bandpower import BandPower
from sigssl.training.checkpoint import load_encoder

CHANNELS = ["Fpz-Cz", "Pz-Oz", "EOG"]  # of sleepedf_bandpower_sc153, by the names of data/channels.yaml
FOLD = "{fold}"  # in a model's path: the fold's name


class BandPowerSource:
    """A folder of band powers as arms see it, and the front that computes the same from signals."""

    def __init__(self, nights: Sequence[Night], settings: SleepSettings) -> None:
        self.features = BandPower(scale=settings.scale, night=settings.night)
        width = nights[0].features.shape[1]
        stored = BandPower().dim
        if width != stored:
            raise UserError(f"the nights have {width} features, not the {stored} band powers of Fpz-Cz, Pz-Oz and EOG.")
        self.source = Source([seen_through(self.features, night) for night in nights])

    def __call__(self, fold: SubjectFold) -> Source:
        """The same for every fold."""
        return self.source

    def front(self) -> nn.Module:
        """For a stager."""
        return BandPowerFront(self.features, CHANNELS)


class StoredBandPowerSource:
    """Band powers of the stored signals that an encoder sees, for the baseline beside it.

    Args:
        nights: signals [C, N] in microvolts with their stages.
        sample_rate: hertz.
        epoch_seconds: length of an epoch.
    """

    def __init__(self, nights: Sequence[Night], sample_rate: int, epoch_seconds: float) -> None:
        lowpass = [30.0] * nights[0].features.shape[0]
        powers = BandPower(sample_rate, epoch_seconds, lowpass=lowpass, scale="median")
        self.source = Source([n.with_features(powers(torch.from_numpy(n.features))[: len(n.stages)].numpy()) for n in nights])

    def __call__(self, fold: SubjectFold) -> Source:
        """The same for every fold."""
        return self.source


def seen_through(features: BandPower, night: Night) -> Night:
    """A night of the data set with its powers in the units of `features`."""
    return night.with_features(features.rescale(torch.from_numpy(night.features)).numpy())


class EncoderSource:
    """Stored signals seen through an encoder: frozen, partly trained or trained whole; pretrained or as it starts.

    Args:
        model: run or encoder folder; {fold} stands for the fold's name.
        data: data directory of nights, with utt2spk and stages.
        store: folder with their signals, from `sigssl features`.
        channels: names of the stored channels to take, in the encoder's order; None: all.
        tune: what is trained.
        untrained: start from new weights, all of which are then trained: the arm that shows what pretraining is worth.
        seed: of new weights.
    """

    def __init__(
        self,
        model: str,
        data: DataDir,
        store: Path,
        channels: Sequence[str] | None,
        settings: SleepSettings,
        untrained: bool = False,
    ) -> None:
        self.model, self.untrained, self.settings = model, untrained, settings
        self.tune = "full" if untrained else settings.tune
        self.center: Center = "none" if untrained else settings.center  # new weights move too far in a pass for its mean to hold
        first: Any = load_encoder(_folders(model)[0] if FOLD in model else model)
        if not hasattr(first, "epoch_seconds"):
            raise UserError(f"{model}: {type(first).__name__} is no encoder of epochs (such as NeuroNet's).")
        self.nights, self.channels = read_signal_nights(data, store, float(first.epoch_seconds), int(first.sample_rate), channels)
        if len(self.channels) != first.channels:
            taken = ", ".join(self.channels)
            raise UserError(f"{store}: channels {taken} are taken, the encoder has {first.channels}: name them with --channels.")
        self.sample_rate, self.epoch_seconds = int(first.sample_rate), float(first.epoch_seconds)
        self.conditioning = conditioning(StoreInfo.read(store), self.channels)
        self._kept: tuple[str, Source] | None = None

    def path(self, fold: SubjectFold) -> str:
        """The model of a fold."""
        return self.model.replace(FOLD, fold.name)

    def __call__(self, fold: SubjectFold) -> Source:
        """Embeddings where the encoder is frozen, else scaled signals and the encoder to train."""
        path = self.path(fold)
        if self._kept is None or self._kept[0] != path:
            self._kept = (path, self._source(path))
        return self._kept[1]

    def _source(self, path: str) -> Source:
        encoder: Any = load_encoder(path)
        front = EncoderFront(encoder, self.channels)
        scaled = [night.with_features(front.scale(torch.from_numpy(night.features)).numpy()) for night in self.nights]
        if self.tune != "frozen":
            return Source(scaled, self._maker(path))
        tuned = Tuned(encoder, center=self.center)
        return Source([n.with_features(tuned.embed(torch.from_numpy(n.features))[: len(n.stages)].numpy()) for n in scaled])

    def _maker(self, path: str) -> Callable[[], Tuned]:
        def make() -> Tuned:
            encoder: Any = load_encoder(path)
            new = build(describe(encoder)) if self.untrained else encoder
            return Tuned(new, self.tune, self.center, self.settings.precision)

        return make

    def front(self, encoder: nn.Module | None = None) -> nn.Module:
        """For a stager: with the encoder that was trained along, or the one that was frozen."""
        frozen: Any = load_encoder(self.model) if encoder is None else encoder
        return EncoderFront(frozen, self.channels, self.center)

    def pretrained_on(self, fold: SubjectFold) -> list[str] | None:
        """The subjects of the pretraining of a fold's encoder as its record names them, None without a record."""
        return pretraining_speakers(self.path(fold))


def conditioning(store: StoreInfo, channels: Sequence[str]) -> dict[str, Any]:
    """What a stager must know to see a recording as the store shows it: `montage` (channel -> where it is), `highpass`, `lowpass`.

    Empty where the store was not made by `sigssl features`.
    """
    signal, montage = store.config.get("signal"), store.config.get("montage")
    if not isinstance(signal, dict) or not isinstance(montage, dict) or not set(channels) <= montage.keys():
        return {}
    return {
        "montage": {name: montage[name] for name in channels},
        "highpass": signal.get("highpass"),
        "lowpass": signal.get("lowpass"),
    }


def _folders(model: str) -> list[str]:
    found = sorted(glob.glob(model.replace(FOLD, "*")))  # noqa: PTH207 (Path.glob refuses absolute patterns)
    if not found:
        raise UserError(f"{model}: no folder fits.")
    return found
