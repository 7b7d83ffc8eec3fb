"""What stands on an encoder: a weighting of its layers, a trunk, the CTC output and, in a hybrid, an attention decoder."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from sigssl.asr.attention import AttentionDecoder
from sigssl.asr.settings import HeadSettings
from sigssl.errors import UserError
from sigssl.nn.recurrent import RecurrentBlock
from sigssl.types import frame_mask


class Heard(NamedTuple):
    """What a head makes of a batch: ln P of tokens [B, T, V], what an attention decoder reads [B, T, H], valid frames [B]."""

    log_probs: Tensor
    memory: Tensor
    lengths: Tensor


class Mix(nn.Module):
    """Hidden states of all layers -> one sequence.

    Args:
        states: how many there are (layers + 1).
        layer: "weighted": their sum with learned softmax weights, equal at first (SUPERB, Yang et al. 2021, section 3.2); "last".
        normalise: layer norm without parameters on every state first.
    """

    def __init__(self, states: int, layer: Literal["weighted", "last"] = "weighted", normalise: bool = False) -> None:
        super().__init__()
        self.states, self.layer, self.normalise = states, layer, normalise
        self.weights = nn.Parameter(torch.zeros(states)) if layer == "weighted" and states > 1 else None

    def pick(self, states: list[Tensor]) -> list[Tensor]:
        """The states that :meth:`forward` needs.

        Raises:
            UserError: another number of states than expected.
        """
        if len(states) != self.states:
            raise UserError(f"the encoder gives {len(states)} states, this head was made for {self.states}.")
        return states if self.weights is not None else states[-1:]

    def forward(self, picked: list[Float[Tensor, "*batch time dim"]]) -> Float[Tensor, "*batch time dim"]:
        """Mix what :meth:`pick` gave."""
        if self.normalise:
            picked = [F.layer_norm(state.float(), state.shape[-1:]) for state in picked]
        if self.weights is None:
            return picked[0]
        shares = self.weights.softmax(0)
        mixed = picked[0] * shares[0]
        for share, state in zip(shares[1:], picked[1:], strict=True):
            mixed = mixed + share * state
        return mixed


class Stack(nn.Module):
    """Neighbouring frames joined to one; the last ones of an item are filled up with zeros. Satisfies what a trunk is.

    Args:
        input_dim: width of a frame.
        frames: how many are joined.
        dropout: of the joined frames.
    """

    def __init__(self, input_dim: int, frames: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.input_dim, self.frames, self.dropout = input_dim, frames, dropout
        self.dim = input_dim * frames

    def forward(
        self, x: Float[Tensor, "batch time dim"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch stacked wide"], Int[Tensor, " batch"]]:
        """Stacked frames [B, ceil(T / frames), frames D] and how many are valid; what lies behind `lengths` is 0."""
        x = x.masked_fill(~frame_mask(lengths, x.shape[1])[:, :, None], 0.0)
        x = F.pad(x, (0, 0, 0, -x.shape[1] % self.frames))
        x = x.reshape(x.shape[0], x.shape[1] // self.frames, self.dim)
        return F.dropout(x, self.dropout, self.training), self.count(lengths)

    def count(self, frames: Tensor) -> Tensor:
        """Frames that come out of so many."""
        return (frames + self.frames - 1) // self.frames


class Recurrent(nn.Module):
    """Stacked frames, a projection, and bidirectional LSTMs: SUPERB's recogniser (Yang et al. 2021, appendix; s3prl's `RNNs`).

    Args:
        stack: joins frames.
        projection: width after it.
        hidden: units of each direction.
        layers: LSTM layers.
        dropout: of every layer's output.
    """

    def __init__(self, stack: Stack, projection: int = 1024, hidden: int = 1024, layers: int = 2, dropout: float = 0.2) -> None:
        super().__init__()
        self.stack, self.projection, self.hidden, self.layers, self.dropout = stack, projection, hidden, layers, dropout
        self.input_dim, self.frames = stack.input_dim, stack.frames
        self.project = nn.Linear(stack.dim, projection)
        widths = [projection] + [2 * hidden] * (layers - 1)
        self.blocks = nn.ModuleList(RecurrentBlock(width, hidden, "lstm", True, False, dropout) for width in widths)
        self.dim = 2 * hidden

    def forward(
        self, x: Float[Tensor, "batch time dim"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch stacked wide"], Int[Tensor, " batch"]]:
        """Outputs [B, T', 2 hidden], and how many are valid."""
        x, lengths = self.stack(x, lengths)
        x = self.project(x)
        for block in self.blocks:
            x = block(x, lengths)
        return x, lengths

    def count(self, frames: Tensor) -> Tensor:
        """Frames that come out of so many."""
        return self.stack.count(frames)


class Head(nn.Module):
    """Hidden states -> ln P of tokens, and what an attention decoder reads.

    Args:
        mix: of the layers.
        trunk: :class:`Stack` or :class:`Recurrent`.
        tokens: how many, the blank (0) included.
        decoder: of a hybrid.
        ctc_weight: share of CTC in the loss of a hybrid, and in its joint decoding.
        smoothing: of the decoder's labels.
    """

    def __init__(
        self,
        mix: Mix,
        trunk: Stack | Recurrent,
        tokens: int,
        decoder: AttentionDecoder | None = None,
        ctc_weight: float = 1.0,
        smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.mix, self.trunk, self.tokens, self.decoder = mix, trunk, tokens, decoder
        self.ctc_weight, self.smoothing = ctc_weight, smoothing
        self.output = nn.Linear(trunk.dim, tokens)

    def forward(self, features: Float[Tensor, "batch time dim"], lengths: Int[Tensor, " batch"]) -> Heard:
        """Map mixed features [B, T, D]; what lies behind `lengths` changes nothing valid. Log-probabilities are float32."""
        memory, lengths = self.trunk(features, lengths)
        return Heard(self.output(memory).float().log_softmax(-1), memory, lengths)


def make_head(settings: HeadSettings, dim: int, states: int, tokens: int) -> Head:
    """The head that settings describe, for an encoder of `states` hidden states of width `dim`."""
    mix = Mix(states, settings.layer, settings.normalise)
    recurrent = settings.kind != "linear" and settings.layers > 0
    stack = Stack(dim, settings.stack, 0.0 if recurrent else settings.dropout)
    trunk: Stack | Recurrent = stack
    if recurrent:
        trunk = Recurrent(stack, settings.projection, settings.hidden, settings.layers, settings.dropout)
    if settings.kind != "seq2seq":
        return Head(mix, trunk, tokens)
    sizes = settings.decoder
    decoder = AttentionDecoder(tokens, trunk.dim, sizes.dim, sizes.layers, sizes.heads, sizes.ffn, sizes.dropout)
    return Head(mix, trunk, tokens, decoder, settings.ctc_weight, settings.smoothing)
