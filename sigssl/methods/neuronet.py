"""NeuroNet (Lee, Lee, Kim 2024, arXiv 2404.17585): masked prediction of frames' tokens and contrast of two masked views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sigssl.errors import UserError
from sigssl.methods.base import Method
from sigssl.methods.neuronet_encoder import NeuroNetEncoder
from sigssl.nn.mae import MaskedDecoder
from sigssl.objectives.dcl import of_pairs as dcl_of_pairs
from sigssl.objectives.nt_xent import of_pairs as nt_xent_of_pairs
from sigssl.objectives.pairs import pairs
from sigssl.types import Batch, frame_mask
from sigssl.views import TokenMask

CONTRAST = {"nt_xent": nt_xent_of_pairs, "dcl": dcl_of_pairs}
Target = Literal["frame_token", "frame_token_live", "raw_patch", "log_spectrum"]


class NeuroNet(Method):
    """Two views of each epoch see a few of its frames; each predicts the others, and their class tokens find one another.

    loss = prediction of view 1 + of view 2 + `alpha` x contrast. The frame network runs once for both views, and the encoder
    sees the kept frames only.

    Args:
        encoder: frame network and Transformer.
        mask: which frames are kept.
        decoder_dim: width of the decoder.
        decoder_heads: of its attention.
        decoder_depth: its blocks.
        projector: widths of the two layers between class token and contrast.
        temperature: of the contrast.
        alpha: weight of the contrast; 0 leaves it out of the sum.
        target: what is predicted of a masked frame: "frame_token", its own token without gradient; "frame_token_live", with
            gradient, as NeuroNet's code does (then predicting gets easier as tokens shrink); "raw_patch", its samples;
            "log_spectrum", the logarithm of its power spectrum.
        target_norm: bring every target to mean 0 and variance 1 over its entries (not for "frame_token_live").
        contrast: "nt_xent" or "dcl".
        exclude_neighbours: epochs of one recording up to this far apart are no negatives of one another; needs batches from
            stored nights.
        view_norms: "joint": one batch norm in the projector over both views; "apart": one after another, as in NeuroNet's code.

    Raises:
        UserError: sizes that do not fit together.
    """

    encoder: NeuroNetEncoder

    def __init__(
        self,
        encoder: NeuroNetEncoder,
        mask: TokenMask,
        decoder_dim: int = 192,
        decoder_heads: int = 8,
        decoder_depth: int = 1,
        projector: Sequence[int] = (1024, 512),
        temperature: float = 0.05,
        alpha: float = 1.0,
        target: Target = "frame_token",
        target_norm: bool = True,
        contrast: Literal["nt_xent", "dcl"] = "nt_xent",
        exclude_neighbours: int = 0,
        view_norms: Literal["joint", "apart"] = "joint",
    ) -> None:
        super().__init__()
        if len(projector) != 2:
            raise UserError(f"NeuroNet: projector is {list(projector)}; expected two widths, hidden and output.")
        mask.kept(encoder.frames)  # an impossible ratio is told now
        self.encoder, self.mask = encoder, mask
        self.decoder_dim, self.decoder_heads, self.decoder_depth = decoder_dim, decoder_heads, decoder_depth
        self.temperature, self.alpha = temperature, alpha
        self.target: Target = target
        self.target_norm, self.exclude_neighbours = target_norm, exclude_neighbours
        self.contrast: Literal["nt_xent", "dcl"] = contrast
        self.view_norms: Literal["joint", "apart"] = view_norms
        window = encoder.frame_network.window
        self.target_dim = {
            "raw_patch": window * encoder.channels,
            "log_spectrum": (window // 2 + 1) * encoder.channels,
        }.get(target, encoder.frame_network.dim)
        self.decoder = MaskedDecoder(
            encoder.dim, encoder.frames, decoder_dim, decoder_heads, decoder_depth, self.target_dim, encoder.positions
        )
        hidden, out = projector
        self.project = nn.Sequential(nn.Linear(encoder.dim, hidden), nn.BatchNorm1d(hidden), nn.ELU(), nn.Linear(hidden, out))
        self.register_buffer("spectral_window", torch.hann_window(window), persistent=False)

    @property
    def projector(self) -> list[int]:
        """Widths of the projector."""
        return [module.out_features for module in self.project if isinstance(module, nn.Linear)]

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The loss of a batch of scaled epochs; see :class:`Method`. Epochs that are shorter are filled up with zeros.

        Returns:
            "loss", "weight" (epochs), "reconstruction" (sum of both views), "contrastive", "contrastive_accuracy", and
            "token_std", over the batch: near 0 where the tokens have collapsed.
        """
        x = self._epochs(batch)
        tokens = self.encoder.tokens(x)
        views = self.mask(len(x), self.encoder.frames, generator)
        keep = views.keep.flatten(0, 1)
        states = self.encoder.body(tokens.repeat(2, 1, 1), keep)
        predicted = self.decoder(states[:, 1:], keep)
        reconstruction = self._error(predicted, self.targets(x, tokens), views.masked)
        first, second = self._projected(states[:, 0])
        place = {"recording": batch.recording, "epoch": batch.epoch} if self.exclude_neighbours else {}
        compared = pairs(first, second, self.temperature, exclude=self.exclude_neighbours, **place)
        contrastive = CONTRAST[self.contrast](compared)
        return {
            "loss": reconstruction + self.alpha * contrastive,
            "weight": torch.full((), float(len(x)), device=x.device),
            "reconstruction": reconstruction.detach(),
            "contrastive": contrastive.detach(),
            "contrastive_accuracy": compared.accuracy(),
            "token_std": tokens.detach().float().flatten(0, 1).std(0, correction=0).mean(),
        }

    def targets(
        self, x: Float[Tensor, "batch channels samples"], tokens: Float[Tensor, "batch frames token"]
    ) -> Float[Tensor, "batch frames target"]:
        """What is to be predicted of each frame, in float32."""
        if self.target == "frame_token_live":
            return tokens.float()
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            if self.target == "frame_token":
                wanted = tokens.detach().float()
            else:
                cut = self.encoder.frame_network.cut(x.float())  # [B, C, F, window]
                if self.target == "log_spectrum":
                    window = self.get_buffer("spectral_window")
                    cut = (torch.fft.rfft(cut * window).abs().square() / window.square().sum() + 1e-6).log()
                wanted = cut.transpose(1, 2).flatten(2)
            return F.layer_norm(wanted, wanted.shape[2:]) if self.target_norm else wanted

    def _epochs(self, batch: Batch) -> Tensor:
        """Epochs [B, C, S], whatever lies behind the lengths as zeros."""
        x, samples = batch.x, self.encoder.samples
        if x.shape[2] > samples:
            raise UserError(
                f"NeuroNet trains on epochs of {samples} samples, the batch has {x.shape[2]}: set data.crop_seconds to "
                f"{self.encoder.epoch_seconds:g}, or name a store of nights in data.feats."
            )
        x = x.masked_fill(~frame_mask(batch.lengths, x.shape[2])[:, None], 0.0)
        return F.pad(x, (0, samples - x.shape[2])) if x.shape[2] < samples else x

    def _error(self, predicted: Tensor, target: Tensor, masked: Tensor) -> Tensor:
        """Mean square error over the masked frames of each view, summed over the views; all views mask equally many."""
        error = (predicted.float().unflatten(0, (2, -1)) - target).square().mean(3)
        return (error * masked).sum() / masked[0].sum()

    def _projected(self, cls: Tensor) -> tuple[Tensor, Tensor]:
        if self.view_norms == "joint":
            first, second = self.project(cls).chunk(2)
        else:
            first, second = map(self.project, cls.chunk(2))
        return first, second
