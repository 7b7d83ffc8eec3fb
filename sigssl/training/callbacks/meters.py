"""Meters of collapse: an encoder whose states no longer differ from one another still has a smooth loss curve."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sigssl.types import Batch, Hidden, frame_mask

ITEMS = 8  # of a batch that are looked at
ROWS = 512  # frames that the rank is computed of


def measure(encoder: nn.Module, batch: Batch) -> dict[str, float]:
    """Spread of what goes into the Transformer's place and of what comes out, of one batch in eval mode.

    Returns:
        "input_std" and "state_std": standard deviation over frames, mean over dimensions, of state 0 and of the last state;
        "effective_rank" of the last state. A collapsed encoder has a state_std near 0, or an effective rank near 1.
    """
    training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            hidden = _encode(encoder, batch)
    finally:
        encoder.train(training)
    valid = frame_mask(hidden.lengths, hidden.states[0].shape[1])
    first, last = (state[valid].float().cpu() for state in (hidden.states[0], hidden.states[-1]))
    if len(last) < 2:
        return {}
    return {
        "input_std": float(first.std(0).mean()),
        "state_std": float(last.std(0).mean()),
        "effective_rank": effective_rank(last[:: max(1, len(last) // ROWS)][:ROWS]),
    }


def effective_rank(states: Float[Tensor, "frames dim"]) -> float:
    """Exponential of the entropy of the normalised singular values of the centred states (Roy and Vetterli 2007, section 2)."""
    centred = (states - states.mean(0)).double()
    gram = centred @ centred.T if len(centred) <= centred.shape[1] else centred.T @ centred
    singular = torch.linalg.eigvalsh(gram).clamp(min=0.0).sqrt()
    if not torch.isfinite(singular).all() or singular.sum() <= 0:
        return 0.0
    share = singular / singular.sum()
    return float(torch.exp(-torch.xlogy(share, share).sum()))


def collapsed(measured: dict[str, float]) -> bool:
    """Whether measurements say that states hardly differ from one another."""
    return bool(measured) and (measured["effective_rank"] < 2.0 or measured["state_std"] < 1e-4)


def _encode(encoder: nn.Module, batch: Batch) -> Hidden:
    x, lengths = batch.x[:ITEMS], batch.lengths[:ITEMS]
    made: Hidden = encoder.encode(x, lengths) if batch.is_frames else encoder(x, lengths)  # type: ignore[operator]
    return made
