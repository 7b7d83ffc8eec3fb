"""A trained sleep stager: front, sequence head and temperature, its use on nights, and its folder on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sigssl.data.stages import STAGES
from sigssl.downstream.fronts import Front
from sigssl.downstream.head_ensemble import HeadEnsemble
from sigssl.downstream.sequence_head import SequenceHead
from sigssl.errors import UserError, nearest
from sigssl.training.checkpoint import load_module, save_module

SECTION = "stager"  # of config.yaml
SHIPPED = Path(__file__).parents[1] / "pretrained"


class Stager(nn.Module):
    """Signal of a night -> probabilities of W, N1, N2, N3, R for every epoch.

    Args:
        front: signal -> features of epochs.
        head: features -> logits.
        temperature: logits are divided by it; fitted on validation nights.
        window: epochs that the head sees at a time; 0: the whole night at once.
        overlap: share of a window that the next one covers again; logits of overlapping windows are averaged.
    """

    def __init__(
        self, front: nn.Module, head: SequenceHead | HeadEnsemble, temperature: float = 1.0, window: int = 0, overlap: float = 0.5
    ) -> None:
        super().__init__()
        if front.dim != head.input_dim:
            raise UserError(f"Stager: the front makes {front.dim} features, the head expects {head.input_dim}.")
        if head.classes != len(STAGES):
            raise UserError(f"Stager: the head has {head.classes} classes, stages are {', '.join(STAGES)}.")
        self.front, self.head, self.temperature = front, head, float(temperature)
        self.window, self.overlap = window, overlap
        self.stages = STAGES

    @property
    def channels(self) -> list[str]:
        """Names of the channels that a signal must have, in order."""
        return list(self.front.channels)  # type: ignore[arg-type]

    @property
    def sample_rate(self) -> int:
        """Hertz, of the signal."""
        return int(self.front.sample_rate)  # type: ignore[arg-type]

    @property
    def epoch_seconds(self) -> float:
        """Length of an epoch."""
        return float(self.front.epoch_seconds)  # type: ignore[arg-type]

    @property
    def causal(self) -> bool:
        """Whether it can stage while the night goes on."""
        return self.head.causal

    def forward(
        self, features: Float[Tensor, "batch epochs features"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch epochs stages"]:
        """Calibrated logits from features of epochs."""
        return self.head(features, lengths) / self.temperature

    @torch.no_grad()
    def stage(self, signal: Float[Tensor, "channels samples"], bf16: bool = False) -> Float[Tensor, "epochs stages"]:
        """Probabilities of every whole epoch of a night, columns as `stages`.

        Args:
            signal: microvolts, at `sample_rate`, channels as `channels`.
            bf16: compute the front under autocast to bfloat16; the head stays in float32.

        Raises:
            UserError: another number of channels, or less than one epoch.
        """
        if signal.shape[0] != len(self.channels):
            raise UserError(f"the signal has {signal.shape[0]} channels; this stager needs {', '.join(self.channels)}.")
        with torch.autocast(signal.device.type, torch.bfloat16, enabled=bf16):
            features = self.front(signal)
        return self.stage_features(features.float())

    @torch.no_grad()
    def stage_features(self, features: Float[Tensor, "epochs features"]) -> Float[Tensor, "epochs stages"]:
        """Probabilities from features that were computed before."""
        logits = whole_night(self.head, features, self.window, self.overlap)
        return (logits / self.temperature).softmax(-1)

    def stream(self) -> StageStream:
        """A night staged epoch by epoch, with a memory of constant size.

        Raises:
            UserError: the head is not causal.
        """
        if not self.causal:
            raise UserError(f"this stager's head ({self.head.kind}) needs the whole night; load a causal one to stream.")
        return StageStream(self)


class StageStream:
    """The state of one night; `push` the next epoch, get its stage."""

    def __init__(self, stager: Stager) -> None:
        self.stager = stager
        self._front: Any = None
        self._head: list[Any] | None = None

    @torch.no_grad()
    def push(self, epoch: Float[Tensor, "channels samples"] | Float[Tensor, " features"]) -> Float[Tensor, " stages"]:
        """Probabilities [5] of the next epoch.

        Args:
            epoch: its signal [C, S] in microvolts, or its features [F].
        """
        if epoch.ndim == 2:
            front: Front = self.stager.front  # type: ignore[assignment]
            epoch, self._front = front.step(epoch, self._front)
        logits, self._head = self.stager.head.stream(epoch[None, None], self._head)
        return (logits[0, 0] / self.stager.temperature).softmax(-1)


def window_starts(epochs: int, window: int, overlap: float = 0.5) -> list[int]:
    """First epochs of windows that cover `epochs` epochs: evenly spaced, the last one ends with the night.

    Where the night is no longer than a window there is one, at 0.
    """
    if epochs <= window:
        return [0]
    step = max(1, round(window * (1.0 - overlap)))
    count = -(-(epochs - window) // step) + 1
    return [round(i * (epochs - window) / (count - 1)) for i in range(count)]


def whole_night(
    head: SequenceHead | HeadEnsemble, features: Float[Tensor, "epochs features"], window: int = 0, overlap: float = 0.5
) -> Float[Tensor, "epochs stages"]:
    """Logits of a night: in one piece, or the mean over the windows that hold an epoch; each epoch comes out once."""
    epochs = len(features)
    if not window or epochs <= window:
        return head(features[None])[0]
    starts = window_starts(epochs, window, overlap)
    pieces = head(torch.stack([features[s : s + window] for s in starts]))
    total = pieces.new_zeros(epochs, pieces.shape[-1])
    seen = pieces.new_zeros(epochs, 1)
    for start, piece in zip(starts, pieces, strict=True):
        total[start : start + window] += piece
        seen[start : start + window] += 1
    return total / seen


def save_stager(folder: str | Path, stager: Stager, meta: dict[str, Any] | None = None, card: str = "") -> Path:
    """Write a stager as `model.safetensors`, `config.yaml` and, where `card` is given, README.md; whole or not at all.

    Args:
        folder: where to; a stager that is there is replaced.
        stager: what to keep; its parts keep their constructors' arguments.
        meta: plain values kept beside it (training subjects, split hash, scores).
        card: text of the model card.
    """
    facts = {
        "channels": stager.channels,
        "sample_rate": stager.sample_rate,
        "epoch_seconds": stager.epoch_seconds,
        "stages": list(stager.stages),
        "causal": stager.causal,
    }
    return save_module(folder, SECTION, stager, {**facts, **(meta or {})}, {"README.md": card} if card else {})


def load_stager(name: str | Path) -> Stager:
    """Read a stager in eval mode.

    Args:
        name: a folder, a run that holds one as `stager/`, or the name of one that is shipped ("sleep_bandpower").

    Raises:
        UserError: nothing of that name, or a damaged folder.
    """
    stager = load_module(stager_folder(name), SECTION)[0]
    if not isinstance(stager, Stager):
        raise UserError(f"{name}: holds a {type(stager).__name__}, no Stager.")
    return stager


def stager_meta(name: str | Path) -> dict[str, Any]:
    """What was kept beside a stager, without loading its weights."""
    from sigssl.training.checkpoint import read_section

    return dict(read_section(stager_folder(name), SECTION).get("meta", {}))


def stager_folder(name: str | Path) -> Path:
    """The folder of a stager: itself, its run's, or a shipped one's."""
    for folder in (Path(name), Path(name) / SECTION, SHIPPED / name):
        if (folder / "config.yaml").is_file() and (folder / "model.safetensors").is_file():
            return folder
    shipped = sorted(p.parent.name for p in SHIPPED.glob("*/config.yaml"))
    raise UserError(
        f"{name}: is no folder with a stager (model.safetensors, config.yaml) and no shipped one "
        f"({', '.join(shipped) or 'none'}).{nearest(str(name), shipped)}"
    )
