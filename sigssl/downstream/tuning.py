"""An epoch encoder beneath a sequence head: which of its parts are trained, and that the others stay exactly as they are."""

from __future__ import annotations

import re

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sigssl.downstream.sleep_settings import Tune
from sigssl.errors import UserError

AT_ONCE = 64  # epochs embedded at a time


class Tuned(nn.Module):
    """An epoch encoder [B, C, S] -> [B, D] with chosen parts trainable.

    What is frozen is in eval mode also while the rest trains: neither its parameters nor its buffers (running statistics of batch
    norm) change by a bit.

    Args:
        encoder: with `dim`, `sample_rate` and `epoch_seconds`.
        tune: "frozen": nothing is trained; "last_block": the last of the numbered blocks and the norm behind it; "full": all.
    """

    def __init__(self, encoder: nn.Module, tune: Tune = "frozen") -> None:
        super().__init__()
        self.encoder, self.tune = encoder, tune
        self.trained = trained_modules(encoder, tune)
        encoder.requires_grad_(tune == "full")
        for name in self.trained:
            encoder.get_submodule(name).requires_grad_(True)
        self.dim = int(encoder.dim)  # type: ignore[arg-type]
        self.samples = round(float(encoder.epoch_seconds) * int(encoder.sample_rate))  # type: ignore[arg-type]
        self.eval()

    def train(self, mode: bool = True) -> Tuned:
        """Training mode for what is trained, eval mode for the rest."""
        super().train(mode)
        if self.tune != "full":
            self.encoder.eval()
            for name in self.trained:
                self.encoder.get_submodule(name).train(mode)
        return self

    def forward(self, x: Float[Tensor, "batch epochs channels samples"]) -> Float[Tensor, "batch epochs dim"]:
        """Embed windows of epochs of signal."""
        batch, epochs = x.shape[:2]
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.tune != "frozen"):
            return self.encoder(x.flatten(0, 1)).unflatten(0, (batch, epochs))

    @torch.no_grad()
    def embed(self, signal: Float[Tensor, "channels samples"]) -> Float[Tensor, "epochs dim"]:
        """Embeddings of a night's whole epochs, in eval mode."""
        mode = self.training
        self.eval()
        epochs = signal.shape[1] // self.samples
        x = signal[:, : epochs * self.samples].unflatten(1, (epochs, self.samples)).transpose(0, 1)
        out = torch.cat([self.encoder(block.contiguous()) for block in x.split(AT_ONCE)])
        self.train(mode)
        return out


def trained_modules(encoder: nn.Module, tune: Tune) -> list[str]:
    """Names of the modules that "last_block" trains: the last entry of the last list of blocks, and the norms beside the list.

    Raises:
        UserError: the encoder has no numbered blocks.
    """
    if tune != "last_block":
        return []
    lists = [
        name for name, module in encoder.named_modules() if isinstance(module, nn.ModuleList) and re.search("block|layer", name)
    ]
    if not lists:
        raise UserError(f"{type(encoder).__name__} has no list of blocks: tune=last_block does not apply; use frozen or full.")
    blocks = lists[-1]
    last = f"{blocks}.{len(encoder.get_submodule(blocks)) - 1}"  # type: ignore[arg-type]
    parent = blocks.rpartition(".")[0]
    beside = [f"{parent}.{n}" if parent else n for n, _ in encoder.get_submodule(parent).named_children() if "norm" in n]
    return [last, *beside]
