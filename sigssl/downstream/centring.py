"""Embeddings of a night's epochs relative to that night: what sets one person's signals apart from another's goes, stages stay."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sigssl.downstream.sleep_settings import Center


def middle(embeddings: Float[Tensor, "epochs dim"], center: Center) -> Float[Tensor, "epochs dim"]:
    """What is subtracted from each epoch: the mean over the night, that of the epochs so far ("past": causal), or zero."""
    if center == "none":
        return torch.zeros_like(embeddings)
    if center == "night":
        return embeddings.mean(0, keepdim=True).expand_as(embeddings)
    counts = torch.arange(1, len(embeddings) + 1, device=embeddings.device)
    return (embeddings.double().cumsum(0) / counts[:, None]).to(embeddings.dtype)


def centred(embeddings: Float[Tensor, "epochs dim"], center: Center) -> Float[Tensor, "epochs dim"]:
    """Embeddings of all epochs of one night, less their `middle`."""
    return embeddings - middle(embeddings, center)
