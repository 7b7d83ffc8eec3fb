"""An epoch encoder beneath a sequence head: which of its parts are trained, and that the others stay exactly as they are."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sigssl.downstream.centring import centred, middle
from sigssl.downstream.sleep_settings import Center, Tune
from sigssl.errors import UserError
from sigssl.training.options import Precision
from sigssl.training.precision import resolve

AT_ONCE = 64  # epochs embedded at a time


class Tuned(nn.Module):
    """An epoch encoder [B, C, S] -> [B, D] with chosen parts trainable.

    What is frozen is in eval mode also while the rest trains: neither its parameters nor its buffers (running statistics of batch
    norm) change by a bit.

    Args:
        encoder: with `dim`, `sample_rate` and `epoch_seconds`; `trainable(part)` lists the parameters of a part.
        tune: "frozen": nothing is trained; "last_block": the last block and the norm behind it; "full": everything.
        center: what `embed` subtracts from each night's embeddings.
        precision: of `forward`; whole nights are embedded in float32.

    Raises:
        UserError: "last_block" for an encoder that does not say what its last block is.
    """

    def __init__(
        self, encoder: nn.Module, tune: Tune = "frozen", center: Center = "none", precision: Precision = "32-true"
    ) -> None:
        super().__init__()
        self.encoder, self.tune, self.center, self.precision = encoder, tune, center, precision
        train_only(encoder, chosen_parts(encoder, tune))
        self.dim = int(encoder.dim)  # type: ignore[arg-type]
        self.samples = round(float(encoder.epoch_seconds) * int(encoder.sample_rate))  # type: ignore[arg-type]
        self.eval()

    def train(self, mode: bool = True) -> Tuned:
        """Training mode for modules all of whose parameters are trained, eval mode for the rest."""
        super().train(mode)
        if mode:
            hold(self.encoder)
        return self

    def forward(self, x: Float[Tensor, "batch epochs channels samples"]) -> Float[Tensor, "batch epochs dim"]:
        """Embed windows of epochs of scaled signal, as the encoder gives them: a window does not know its night's `middle`."""
        batch, epochs = x.shape[:2]
        bf16 = resolve(self.precision, x.device.type) == "bf16-mixed"
        with (
            torch.set_grad_enabled(torch.is_grad_enabled() and self.tune != "frozen"),
            torch.autocast(x.device.type, torch.bfloat16, enabled=bf16),
        ):
            return self.encoder(x.flatten(0, 1)).float().unflatten(0, (batch, epochs))

    def embed(self, signal: Float[Tensor, "channels samples"]) -> Float[Tensor, "epochs dim"]:
        """Embeddings of the whole epochs of a scaled night, in eval mode, centred."""
        return centred(self._embed(signal), self.center)

    def middle(self, signal: Float[Tensor, "channels samples"]) -> Float[Tensor, "epochs dim"]:
        """What `embed` subtracts from each epoch of a scaled night."""
        if self.center == "none":
            return signal.new_zeros(signal.shape[1] // self.samples, self.dim)
        return middle(self._embed(signal), self.center)

    @torch.no_grad()
    def _embed(self, signal: Tensor) -> Tensor:
        mode = self.training
        self.eval()
        epochs = signal.shape[1] // self.samples
        x = signal[:, : epochs * self.samples].unflatten(1, (epochs, self.samples)).transpose(0, 1)
        out = torch.cat([self.encoder(block.contiguous()) for block in x.split(AT_ONCE)])
        self.train(mode)
        return out


def chosen_parts(encoder: nn.Module, tune: Tune) -> list[nn.Parameter]:
    """The parameters that are trained: what the encoder's `trainable(tune)` lists, where it has one.

    Raises:
        UserError: "last_block" for an encoder that does not say what its last block is.
    """
    known = getattr(encoder, "trainable", None)
    if known is None and tune == "last_block":
        raise UserError(f"{type(encoder).__name__} does not say what its last block is (no `trainable`): use frozen or full.")
    return list(known(tune)) if known is not None else list(encoder.parameters()) if tune == "full" else []


def train_only(module: nn.Module, chosen: list[nn.Parameter]) -> None:
    """Let these parameters of a module have gradients, and no others."""
    kept = {id(parameter) for parameter in chosen}
    for parameter in module.parameters():
        parameter.requires_grad_(id(parameter) in kept)


def hold(module: nn.Module) -> None:
    """Eval mode for every module below which something is frozen, and for those without parameters beside them."""
    parameters = list(module.parameters())
    if parameters and all(parameter.requires_grad for parameter in parameters):
        return
    module.training = False
    for child in module.children():
        hold(child)
