"""A trained head on whole nights: logits of every epoch, validation scores, temperature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.metrics import cohen_kappa_score
from torch import Tensor, nn

from sigssl.data.feature_nights import Night
from sigssl.downstream.head_ensemble import HeadEnsemble
from sigssl.downstream.night_windows import padded
from sigssl.downstream.sequence_head import SequenceHead
from sigssl.downstream.tuning import Tuned

AnyHead = SequenceHead | HeadEnsemble


@torch.no_grad()
def night_logits(head: AnyHead, tuned: Tuned | None, night: Night) -> Tensor:
    """Logits of all epochs of a night [E, K], each once."""
    x = torch.from_numpy(night.features)
    features = x if tuned is None else tuned.embed(x)[: len(night.stages)]
    return head(features[None])[0]


@torch.no_grad()
def nights_logits(head: AnyHead, features: Sequence[Tensor], at_once: int = 16) -> list[Tensor]:
    """Logits of whole nights, those of like length side by side, which is faster where a head goes step by step."""
    out: dict[int, Tensor] = {}
    order = sorted(range(len(features)), key=lambda i: len(features[i]))
    for start in range(0, len(order), at_once):
        some = order[start : start + at_once]
        lengths = torch.tensor([len(features[i]) for i in some])
        logits = head(padded([features[i] for i in some]), lengths)
        out |= {i: row[:length] for i, row, length in zip(some, logits, lengths.tolist(), strict=True)}
    return [out[i] for i in range(len(features))]


def logits_of(head: AnyHead, tuned: Tuned | None, nights: Sequence[Night]) -> tuple[Tensor, Tensor]:
    """Logits and stages of all scored epochs of the nights."""
    if tuned is None:
        logits = torch.cat(nights_logits(head, [torch.from_numpy(night.features) for night in nights]))
    else:
        logits = torch.cat([night_logits(head, tuned, night) for night in nights])
    stages = torch.cat([torch.from_numpy(night.stages) for night in nights])
    return logits[stages >= 0], stages[stages >= 0]


def validate(head: AnyHead, tuned: Tuned | None, nights: Sequence[Night]) -> tuple[float, float]:
    """Cohen's kappa and accuracy over all scored epochs; kappa is 0 where only one stage occurs."""
    if tuned is not None:
        tuned.eval()
    logits, stages = logits_of(head, tuned, nights)
    said, truth = logits.argmax(-1).numpy(), stages.numpy()
    kappa = float(cohen_kappa_score(truth, said)) if len({*truth.tolist(), *said.tolist()}) > 1 else 0.0
    return kappa, float((said == truth).mean())


def fit_temperature(logits: Tensor, stages: Tensor) -> float:
    """The temperature that minimises the cross-entropy (Guo et al. 2017), within 0.2 to 5; one parameter, by golden section."""
    logits = logits.double()

    def loss(log_t: float) -> float:
        return float(nn.functional.cross_entropy(logits / np.exp(log_t), stages))

    low, high = np.log(0.2), np.log(5.0)
    ratio = (np.sqrt(5.0) - 1) / 2
    for _ in range(40):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return float(np.exp((low + high) / 2))
