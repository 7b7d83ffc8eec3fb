"""What every CTC decoder needs (Graves et al. 2006): collapsing a path, greedy search, the total probability of a sequence."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sigssl.errors import UserError

SUM_TOLERANCE = 1e-2  # of a row's probabilities: half precision misses one by this much


@dataclass(frozen=True)
class Hypothesis:
    """One transcription of an utterance.

    Attributes:
        tokens: token numbers, without blanks and repetitions.
        score: what hypotheses are sorted by: `acoustic` plus whatever the language model adds.
        acoustic: ln P(tokens | audio), summed over all paths of CTC.
    """

    tokens: tuple[int, ...]
    score: float
    acoustic: float


def greedy(log_probs: Float[Tensor, "batch time tokens"], lengths: Int[Tensor, " batch"]) -> list[Hypothesis]:
    """The best path, collapsed.

    Args:
        log_probs: natural logarithms, blank first; what lies behind `lengths` is not looked at.
        lengths: frames.

    Returns:
        One hypothesis each; the score is the total log-probability of the collapsed sequence, not that of the path alone.
    """
    found = []
    for rows, length in zip(log_probs, lengths.tolist(), strict=True):
        tokens = collapse(rows[:length].argmax(-1).tolist())
        acoustic = float(total_log_prob(rows[:length], [tokens])[0])
        found.append(Hypothesis(tokens, acoustic, acoustic))
    return found


def collapse(path: Sequence[int]) -> tuple[int, ...]:
    """Repetitions are one token, blanks (0) none."""
    return tuple(token for place, token in enumerate(path) if token and (not place or path[place - 1] != token))


def frames_needed(tokens: Sequence[int]) -> int:
    """The fewest frames in which CTC can say these tokens: one each, and a blank between equal neighbours."""
    return len(tokens) + sum(a == b for a, b in itertools.pairwise(tokens))


def total_log_prob(log_probs: Float[Tensor, "time tokens"], sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """Ln P(sequence | audio) of several sequences for one utterance [N]; -inf where it has too few frames for one."""
    time = len(log_probs)
    if not time:
        return np.array([0.0 if not len(sequence) else -np.inf for sequence in sequences])
    count = len(sequences)
    targets = torch.tensor([token for sequence in sequences for token in sequence], dtype=torch.long)
    loss = torch.nn.functional.ctc_loss(
        log_probs.detach().cpu().double().unsqueeze(1).expand(-1, count, -1),
        targets,
        torch.full((count,), time, dtype=torch.long),
        torch.tensor([len(sequence) for sequence in sequences], dtype=torch.long),
        reduction="none",
    )
    return -loss.numpy()


def check(log_probs: Float[Tensor, "time tokens"], tokens: int, where: str) -> None:
    """Refuse a matrix that holds no log-probabilities.

    Args:
        log_probs: the matrix.
        tokens: how many columns it must have.
        where: the utterance, for the message.

    Raises:
        UserError: the wrong width, not-a-number, or rows whose probabilities do not sum to one.
    """
    if log_probs.shape[1] != tokens:
        raise UserError(f"{where}: {log_probs.shape[1]} columns, and there are {tokens} tokens. Give the tokens of this model.")
    off = (log_probs.double().logsumexp(-1).exp() - 1).abs()
    if not bool((off < SUM_TOLERANCE).all()):
        row = int((~(off < SUM_TOLERANCE)).nonzero()[0])
        said = "is not a number" if bool(off[row].isnan()) else f"sums to {float(log_probs[row].exp().sum()):.4g}"
        raise UserError(
            f"{where}: row {row} {said} as probabilities; expected 1. Store natural log-probabilities (log_softmax), not logits."
        )
