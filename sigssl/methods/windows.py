"""Long inputs in overlapping windows, joined at the middle of the overlap: whole in memory, or piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sigssl.errors import UserError

Body = Callable[[Tensor, Tensor], list[Tensor]]  # frames [B, T, F], valid frames [B] -> states [B, T, D]


def check_windows(name: str, window: int, overlap: int) -> None:
    """UserError unless windows of `window` frames that overlap by `overlap` move on."""
    if not 0 <= overlap < window:
        raise UserError(f"{name}: 0 <= overlap < window, in frames; got overlap {overlap}, window {window}.")


def encode_windows(
    body: Body, frames: Float[Tensor, "batch time features"], lengths: Int[Tensor, " batch"], window: int, overlap: int
) -> list[Float[Tensor, "batch time dim"]]:
    """States of a padded batch: inputs of up to `window` frames run whole, longer ones in windows.

    Args:
        body: frames and lengths -> states; positions restart in each window.
        frames: [B, T, F].
        lengths: valid frames [B].
        window: longest run, in frames.
        overlap: frames shared by neighbouring windows.

    Returns:
        States [B, T, D]; where T is over `window` and an item takes no part in the last windows, 0.
    """
    if frames.shape[1] <= window:
        return body(frames, lengths)
    states: list[Tensor] = []
    for begin in range(0, max(1, frames.shape[1] - overlap), window - overlap):
        # an item takes part while the window before this one has not reached its end
        active = torch.nonzero((lengths > begin + overlap) | (begin == 0))[:, 0]
        if not len(active):
            break
        part = body(frames[active, begin : begin + window], (lengths[active] - begin).clamp(max=window))
        if not states:
            states = [s.new_zeros(*frames.shape[:2], s.shape[2]) for s in part]
        skip = overlap // 2 if begin else 0
        for whole, state in zip(states, part, strict=True):
            whole[active, begin + skip : begin + state.shape[1]] = state[:, skip:]
    return states


def stream_windows(
    body: Body, pieces: Iterable[Float[Tensor, "time features"]], window: int, overlap: int, device: torch.device
) -> Iterator[list[Float[Tensor, "time dim"]]]:
    """The states of one recording, as :func:`encode_windows` gives them, at bounded memory.

    Args:
        body: as there.
        pieces: its frames [t, F], in order.
        window: longest run, in frames.
        overlap: frames shared by neighbouring windows.
        device: where the body computes.

    Yields:
        States [t, D] of the next t frames.
    """

    def states_of(frames: Tensor) -> list[Tensor]:
        return [s[0] for s in body(frames[None], torch.tensor([len(frames)], device=device))]

    waiting: Tensor | None = None
    skip = 0
    for piece in pieces:
        waiting = piece.to(device) if waiting is None else torch.cat([waiting, piece.to(device)])
        while len(waiting) > window:  # so that there is at least one frame that this window does not reach
            stop = window - overlap + overlap // 2
            yield [s[skip:stop] for s in states_of(waiting[:window])]
            waiting, skip = waiting[window - overlap :], overlap // 2
    if waiting is not None and len(waiting) > skip:
        yield [s[skip:] for s in states_of(waiting)]
