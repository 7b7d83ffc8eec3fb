"""Recurrent layers with the calling conventions of the Mamba blocks: lengths in, one direction or both, streaming."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sigssl.errors import UserError
from sigssl.nn.mamba_encoder import reverse_within

CELLS = {"gru": nn.GRU, "lstm": nn.LSTM}


class RecurrentBlock(nn.Module):
    """One GRU or LSTM layer over time, of one direction or both; plain, or x + dropout(project(cell(norm(x)))).

    The backward direction runs on sequences reversed within their own lengths, so that padding behind them changes nothing.

    Args:
        d_model: width of the inputs.
        hidden: units of each direction.
        cell: "gru" or "lstm".
        bidirectional: whether frames see what follows them.
        residual: with norm, projection back to `d_model` and residual; plain layers put out `hidden` units per direction.
        dropout: of the output.
    """

    def __init__(
        self,
        d_model: int,
        hidden: int,
        cell: str = "gru",
        bidirectional: bool = False,
        residual: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise UserError(f"RecurrentBlock: cell is {cell!r}, expected 'gru' or 'lstm'.")
        self.d_model, self.hidden, self.cell, self.bidirectional = d_model, hidden, cell, bidirectional
        self.residual, self.dropout = residual, dropout
        self.ahead = CELLS[cell](d_model, hidden, batch_first=True)
        self.back = CELLS[cell](d_model, hidden, batch_first=True) if bidirectional else None
        width = 2 * hidden if bidirectional else hidden
        self.scale = nn.RMSNorm(d_model, eps=1e-5) if residual else nn.Identity()
        self.proj = nn.Linear(width, d_model) if residual else nn.Identity()
        self.drop = nn.Dropout(dropout)
        self.dim = d_model if residual else width

    def forward(
        self, x: Float[Tensor, "batch frames dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch frames dim2"]:
        """Map a padded batch; outputs behind the lengths mean nothing."""
        inner = self.scale(x)
        y = self.ahead(inner)[0]
        if self.back is not None:
            y = torch.cat([y, reverse_within(self.back(reverse_within(inner, lengths))[0], lengths)], -1)
        y = self.drop(self.proj(y))
        return x + y if self.residual else y

    def forward_with_state(
        self, x: Float[Tensor, "batch frames dim"], state: object = None
    ) -> tuple[Float[Tensor, "batch frames dim2"], object]:
        """`forward` of the next frames, going on from `state`, and the state after them.

        Raises:
            UserError: the block is bidirectional.
        """
        if self.back is not None:
            raise UserError("RecurrentBlock: a bidirectional block needs the whole sequence and cannot stream.")
        y, after = self.ahead(self.scale(x), state)
        y = self.drop(self.proj(y))
        return (x + y if self.residual else y), after


class FeedForwardBlock(nn.Module):
    """x + dropout(W2 gelu(W1 norm(x))): no context at all, the comparison that shows what context is worth.

    Args:
        d_model: width.
        expand: inner units are `expand * d_model`.
        dropout: of the output.
    """

    def __init__(self, d_model: int, expand: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.d_model, self.expand, self.dropout = d_model, expand, dropout
        self.scale = nn.RMSNorm(d_model, eps=1e-5)
        self.up = nn.Linear(d_model, expand * d_model)
        self.down = nn.Linear(expand * d_model, d_model)
        self.drop = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "batch frames dim"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch frames dim"]:
        """Map every frame by itself."""
        return x + self.drop(self.down(nn.functional.gelu(self.up(self.scale(x)))))

    def forward_with_state(
        self, x: Float[Tensor, "batch frames dim"], state: object = None
    ) -> tuple[Float[Tensor, "batch frames dim"], object]:
        """The same; there is nothing to remember."""
        return self(x), None
