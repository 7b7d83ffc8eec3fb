"""TERA: an encoder learns to undo alterations of its frames. Mockingjay and AudioALBERT are configurations of it."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sigssl.errors import UserError
from sigssl.features import Extractor
from sigssl.methods.base import Method
from sigssl.methods.encoder import FrameEncoder
from sigssl.nn import ReconstructionHead
from sigssl.objectives import label_weight, masked_l1, masked_mse
from sigssl.types import Batch, frame_mask
from sigssl.views import Alter

LOSSES = {"l1": masked_l1, "mse": masked_mse}


class Reconstruction(NamedTuple):
    """What TERA sees and answers, for the loss and for figures.

    `original`, `prediction` and `label` are [B, T, F]; `altered` is too, save where the target is another feature.
    """

    original: Float[Tensor, "batch time features"]
    altered: Float[Tensor, "batch time input_features"]
    prediction: Float[Tensor, "batch time features"]
    label: Bool[Tensor, "batch time features"]
    lengths: Int[Tensor, " batch"]


class TERA(Method):
    """Reconstruction of frames altered in time, frequency and magnitude (Liu, Li, Lee 2021, "TERA").

    With time alteration only it is Mockingjay (Liu et al. 2020); that with shared layers is AudioALBERT (Chi et al. 2021).

    Args:
        encoder: features and Transformer.
        alter: the alteration.
        loss: "l1" (published) or "mse", over the labelled elements.
        mean: "element" (published: long utterances weigh more) or "utterance".
        target: the feature to predict, where it is not the encoder's own (Mockingjay-Large: mel in, linear spectrum out). Then
            training needs signals rather than stored frames, and alteration in time or magnitude only.

    Raises:
        UserError: a target that cannot be lined up with the encoder's frames.
    """

    encoder: FrameEncoder

    def __init__(
        self,
        encoder: FrameEncoder,
        alter: Alter,
        loss: Literal["l1", "mse"] = "l1",
        mean: Literal["element", "utterance"] = "element",
        target: Extractor | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.alter = encoder, alter
        self.loss: Literal["l1", "mse"] = loss
        self.mean: Literal["element", "utterance"] = mean
        self.target = target
        if target is not None:
            self._check_target(target)
        self.head = ReconstructionHead(encoder.dim, (target or encoder.features).dim)

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The reconstruction loss of one batch; see :class:`Method`.

        Returns:
            "loss", "weight" (labelled elements, or utterances), and "label_share", labelled over valid elements.
        """
        made = self.reconstruct(batch, generator)
        valid = made.lengths.sum() * made.original.shape[2]
        return {
            "loss": LOSSES[self.loss](made.prediction, made.original, made.label, self.mean),
            "weight": label_weight(made.label, self.mean),
            "label_share": made.label.sum() / valid.clamp(min=1),
        }

    def reconstruct(self, batch: Batch, generator: torch.Generator) -> Reconstruction:
        """Alter a batch and predict what it was."""
        with torch.no_grad():
            frames, lengths = self.encoder.frames(batch)
            frames = _without_padding(frames, lengths)
            altered, label = self.alter(frames, lengths, generator)
            original = frames
            if self.target is not None:
                original = self._other_target(self.target, batch, lengths)
                label = label.any(2, keepdim=True).expand_as(original)
        return Reconstruction(original, altered, self.predict(altered, lengths), label, lengths)

    def predict(
        self, altered: Float[Tensor, "batch time input_features"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch time features"]:
        """The head's answer [B, T, F] to altered frames, run as one window."""
        return self.head(self.encoder.body(altered, lengths)[-1])

    def _check_target(self, target: Extractor) -> None:
        features = self.encoder.features
        theirs, ours = ([f.sample_rate, *map(f.frame_count, (1, 399, 16000, 16080))] for f in (target, features))
        if theirs != ours:
            raise UserError(
                f"TERA: the target ({type(target).__name__}, hop {target.hop}, {target.sample_rate} Hz) does not frame the signal "
                f"as the encoder's features do ({type(features).__name__}, hop {features.hop}, {features.sample_rate} Hz)."
            )
        if self.alter.freq > 0:
            raise UserError("TERA: bins of the input are not those of another target; set alter.freq to 0.")

    def _other_target(self, target: Extractor, batch: Batch, lengths: Tensor) -> Tensor:
        if batch.is_frames:
            raise UserError("TERA: a target of its own is made from the signal; train from recordings rather than stored features.")
        return _without_padding(target(batch.x[:, 0], batch.lengths)[0], lengths)


def _without_padding(frames: Tensor, lengths: Tensor) -> Tensor:
    """Zeros behind the lengths, so that nothing that lies there reaches the loss."""
    return frames.masked_fill(~frame_mask(lengths, frames.shape[1])[:, :, None], 0.0)
