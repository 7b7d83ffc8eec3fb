"""Mamba in blocks: both directions with lengths, pre-norm residual blocks, and a stack of them."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sigssl.errors import UserError
from sigssl.nn.mamba import Mamba, MambaState
from sigssl.types import frame_mask


def reverse_within(
    x: Float[Tensor, "batch frames dim"], lengths: Int[Tensor, " batch"] | None
) -> Float[Tensor, "batch frames dim"]:
    """Reverse each sequence in time within its own length; the padding stays where it is. Its own inverse."""
    if lengths is None:
        return x.flip(1)
    frames = torch.arange(x.shape[1], device=x.device)
    ends = lengths.to(x.device)[:, None]
    order = torch.where(frames < ends, ends - 1 - frames, frames)
    return x.gather(1, order[..., None].expand_as(x))


class BiMamba(nn.Module):
    """Two Mamba layers, one of which sees each sequence reversed within its own length.

    Args:
        d_model: width.
        d_state: states of each inner channel.
        d_conv: width of the convolution.
        expand: inner channels are `expand * d_model`.
        merge: "sum" of both outputs, or "concat" and a linear projection back to d_model.
        backend: engine of the scan.
    """

    def __init__(
        self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: int = 2, merge: str = "sum", backend: str = "auto"
    ) -> None:
        super().__init__()
        if merge not in ("sum", "concat"):
            raise UserError(f"BiMamba: merge is {merge!r}, expected 'sum' or 'concat'.")
        self.d_model, self.d_state, self.d_conv, self.expand = d_model, d_state, d_conv, expand
        self.merge, self.backend = merge, backend
        self.ahead = Mamba(d_model, d_state, d_conv, expand, backend=backend)
        self.back = Mamba(d_model, d_state, d_conv, expand, backend=backend)
        self.proj = nn.Linear(2 * d_model, d_model) if merge == "concat" else None

    def forward(
        self,
        x: Float[Tensor, "batch frames dim"],
        lengths: Int[Tensor, " batch"] | None = None,
        resets: Bool[Tensor, "batch frames"] | None = None,
    ) -> Float[Tensor, "batch frames dim"]:
        """Every frame sees the whole of its sequence; arguments as for :meth:`Mamba.forward`."""
        ahead = self.ahead(x, lengths, resets)
        mirrored = None if resets is None else _mirror_resets(resets, lengths)
        back = reverse_within(self.back(reverse_within(x, lengths), lengths, mirrored), lengths)
        return ahead + back if self.proj is None else self.proj(torch.cat([ahead, back], -1))


def _mirror_resets(resets: Tensor, lengths: Tensor | None) -> Tensor:
    """Resets of the reversed sequences: the last frame of each sequence becomes the first."""
    last = torch.cat([resets[:, 1:], resets.new_zeros(resets.shape[0], 1)], 1)
    return reverse_within(last[..., None].float(), lengths)[..., 0] > 0


class MambaBlock(nn.Module):
    """x + dropout(mixer(norm(x))), the mixer one Mamba or one of either direction.

    Args:
        d_model: width.
        d_state: states of each inner channel.
        d_conv: width of the convolution.
        expand: inner channels are `expand * d_model`.
        bidirectional: whether frames see what follows them.
        dropout: of the mixer's output.
        norm: "rms" or "layer".
        backend: engine of the scan.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        bidirectional: bool = False,
        dropout: float = 0.0,
        norm: str = "rms",
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if norm not in ("rms", "layer"):
            raise UserError(f"MambaBlock: norm is {norm!r}, expected 'rms' or 'layer'.")
        self.d_model, self.d_state, self.d_conv, self.expand = d_model, d_state, d_conv, expand
        self.bidirectional, self.dropout, self.norm, self.backend = bidirectional, dropout, norm, backend
        self.drop = nn.Dropout(dropout)
        self.scale = nn.RMSNorm(d_model, eps=1e-5) if norm == "rms" else nn.LayerNorm(d_model)
        kind = BiMamba if bidirectional else Mamba
        self.mixer = kind(d_model, d_state, d_conv, expand, backend=backend)

    def forward(
        self,
        x: Float[Tensor, "batch frames dim"],
        lengths: Int[Tensor, " batch"] | None = None,
        resets: Bool[Tensor, "batch frames"] | None = None,
    ) -> Float[Tensor, "batch frames dim"]:
        """Arguments as for :meth:`Mamba.forward`; what is behind the lengths becomes zero."""
        if lengths is not None:
            x = x.masked_fill(~frame_mask(lengths.to(x.device), x.shape[1])[..., None], 0)
        return x + self.drop(self.mixer(self.scale(x), lengths, resets))

    def forward_with_state(
        self, x: Float[Tensor, "batch frames dim"], state: MambaState | None = None
    ) -> tuple[Float[Tensor, "batch frames dim"], MambaState]:
        """Go on from `state`, for streaming.

        Raises:
            UserError: the block is bidirectional.
        """
        if not isinstance(self.mixer, Mamba):
            raise UserError(
                "MambaBlock: a bidirectional block needs the whole sequence and cannot stream; use bidirectional=False."
            )
        y, after = self.mixer.forward_with_state(self.scale(x), state)
        return x + self.drop(y), after


class MambaEncoder(nn.Module):
    """A stack of Mamba blocks: temporal head over epochs, or frame encoder in time linear in the frames.

    Args:
        input_dim: width of the input frames; projected where it differs from `dim`.
        dim: width of the stack.
        layers: how many blocks.
        d_state: states of each inner channel.
        d_conv: width of the convolution.
        expand: inner channels are `expand * dim`.
        bidirectional: whether frames see what follows them.
        dropout: of each block's output.
        norm: "rms" or "layer"; one more norm follows the last block.
        backend: engine of the scan.
    """

    def __init__(
        self,
        input_dim: int,
        dim: int = 256,
        layers: int = 4,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        bidirectional: bool = False,
        dropout: float = 0.1,
        norm: str = "rms",
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.input_dim, self.dim, self.layers, self.d_state, self.d_conv = input_dim, dim, layers, d_state, d_conv
        self.expand, self.bidirectional, self.dropout, self.norm, self.backend = expand, bidirectional, dropout, norm, backend
        self.embed = nn.Linear(input_dim, dim) if input_dim != dim else nn.Identity()
        self.blocks = nn.ModuleList(
            MambaBlock(dim, d_state, d_conv, expand, bidirectional, dropout, norm, backend) for _ in range(layers)
        )
        self.final = nn.RMSNorm(dim, eps=1e-5) if norm == "rms" else nn.LayerNorm(dim)

    def forward(
        self,
        frames: Float[Tensor, "batch frames dim"],
        lengths: Int[Tensor, " batch"] | None = None,
        resets: Bool[Tensor, "batch frames"] | None = None,
    ) -> list[Float[Tensor, "batch frames dim2"]]:
        """All hidden states: the embedded input, then every block's output, the last one normalised.

        Args:
            frames: input frames; what is behind `lengths` changes nothing.
            lengths: valid frames.
            resets: true on frames that begin a new sequence in the same row.
        """
        if lengths is not None:
            frames = frames.masked_fill(~frame_mask(lengths.to(frames.device), frames.shape[1])[..., None], 0)
        states = [self.embed(frames)]
        for block in self.blocks:
            states.append(block(states[-1], lengths, resets))
        states[-1] = self.final(states[-1])
        return states

    def stream(
        self, frames: Float[Tensor, "batch frames dim"], states: list[MambaState] | None = None
    ) -> tuple[list[Float[Tensor, "batch frames dim2"]], list[MambaState]]:
        """The hidden states of the next chunk of frames, as `forward` gives them for the whole, and the memory for the next call.

        Raises:
            UserError: the encoder is bidirectional.
        """
        hidden, after = [self.embed(frames)], []
        for index, block in enumerate(self.blocks):
            assert isinstance(block, MambaBlock)
            y, state = block.forward_with_state(hidden[-1], None if states is None else states[index])
            hidden.append(y)
            after.append(state)
        hidden[-1] = self.final(hidden[-1])
        return hidden, after
