"""Log-probabilities that say a given text, with noise: what an acoustic model would give."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sigssl.asr.tokens import Tokens


def spoken(tokens: Tokens, text: str, *, seed: int = 0, noise: float = 0.0, sure: float = 6.0, gap: int = 2) -> Tensor:
    """Rows [T, V]: two frames a token and `gap` blanks around each."""
    rng = np.random.default_rng(seed)
    path = [0] * gap
    for number in tokens.encode(text):
        path += [number, number, *[0] * gap]
    rows = rng.normal(scale=noise, size=(len(path), len(tokens))) if noise else np.zeros((len(path), len(tokens)))
    rows[np.arange(len(path)), path] += sure
    return torch.from_numpy(rows.astype(np.float32)).log_softmax(-1)


def random_rows(seed: int, time: int, tokens: int, spread: float = 2.0) -> Tensor:
    """Rows [T, V] of no text at all."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(time, tokens, generator=generator) * spread).log_softmax(-1)
