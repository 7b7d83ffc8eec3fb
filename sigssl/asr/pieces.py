"""Long recordings in pieces, cut at pauses: of log-probabilities that are all there, or that come little by little."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from sigssl.asr.recogniser import Piece

PAUSE = 11  # frames over which a pause is looked for


def cuts(log_probs: Tensor, longest: int) -> Iterator[tuple[int, int]]:
    """Pieces [start, stop) of at most `longest` frames, cut in pauses.

    Each cut is in the second half of a piece, where the mean of ln P(blank) over :data:`PAUSE` frames is largest among the frames
    whose likeliest token is the blank; greedy decoding of the pieces is then that of the whole.

    Args:
        log_probs: of one utterance [T, V], blank first.
        longest: frames.
    """
    start, total = 0, len(log_probs)
    if total > longest:
        blank = np.maximum(log_probs[:, 0].double().numpy(), -50.0)
        pause = np.convolve(np.pad(blank, PAUSE // 2, constant_values=-50.0), np.full(PAUSE, 1 / PAUSE), mode="valid")
        pause = np.where((log_probs.argmax(-1) == 0).numpy(), pause, pause - 100.0)
        while total - start > longest:
            low = start + max(longest // 2, 1)
            stop = low + int(pause[low : start + longest + 1].argmax())
            yield start, stop
            start = stop
    yield start, total


def pieces_of(parts: Iterable[Piece], longest: int) -> Iterator[Piece]:
    """Join what comes and cut it as :func:`cuts` cuts the whole; at most two pieces' worth is held.

    Args:
        parts: the next frames of one recording, on the processor.
        longest: frames of a piece.
    """
    held: list[Piece] = []
    frames = 0
    # PAUSE // 2 frames behind the last place for a cut are seen before it is chosen, and as many before the first
    enough = longest + 1 + PAUSE // 2
    for part in parts:
        held.append(part)
        frames += len(part.log_probs)
        while frames > enough:
            whole = joined(held)
            _, stop = next(cuts(whole.log_probs, longest))
            yield Piece(whole.log_probs[:stop], whole.memory[:stop])
            held, frames = [Piece(whole.log_probs[stop:], whole.memory[stop:])], frames - stop
    if held:
        whole = joined(held)
        for start, stop in cuts(whole.log_probs, longest):
            yield Piece(whole.log_probs[start:stop], whole.memory[start:stop])


def joined(parts: list[Piece]) -> Piece:
    """Parts of one recording as one."""
    if len(parts) == 1:
        return parts[0]
    return Piece(torch.cat([part.log_probs for part in parts]), torch.cat([part.memory for part in parts]))
