"""The losses of a recogniser: CTC (Graves et al. 2006), and in a hybrid the cross-entropy of the attention decoder."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from sigssl.asr.attention import IGNORE, teacher
from sigssl.asr.ctc import frames_needed
from sigssl.asr.heads import Head, Heard
from sigssl.types import frame_mask


class Losses(NamedTuple):
    """Of one batch: what is minimised, its parts (per token), and how many utterances had too few frames for their transcript."""

    loss: Tensor
    ctc: Tensor
    attention: Tensor | None
    infinite: int


def ctc_losses(
    log_probs: Float[Tensor, "batch time tokens"], lengths: Int[Tensor, " batch"], targets: list[list[int]]
) -> tuple[Float[Tensor, " batch"], Bool[Tensor, " batch"]]:
    """-ln P(transcript | audio) of each utterance; 0 without gradient where it is infinite, and which those are.

    Args:
        log_probs: natural logarithms in float32; what lies behind `lengths` is not looked at.
        lengths: frames.
        targets: token numbers.
    """
    device = log_probs.device
    infinite = torch.tensor([frames_needed(t) for t in targets], device=device) > lengths
    flat = torch.tensor([token for target in targets for token in target], dtype=torch.long, device=device)
    sizes = torch.tensor([len(target) for target in targets], device=device)
    clean = log_probs.masked_fill(~frame_mask(lengths, log_probs.shape[1])[:, :, None], 0.0)
    losses = F.ctc_loss(clean.transpose(0, 1), flat, lengths, sizes, reduction="none", zero_infinity=True)
    return losses, infinite


def losses_of(head: Head, heard: Heard, targets: list[list[int]]) -> Losses:
    """Losses per token of the batch, so that long and short utterances count by their tokens.

    A hybrid's loss is w CTC + (1 - w) cross-entropy (Watanabe et al. 2017, equation 12), labels smoothed.
    """
    ctc, infinite = ctc_losses(heard.log_probs, heard.lengths, targets)
    sizes = torch.tensor([len(target) for target in targets], device=ctc.device)
    mean = ctc.sum() / torch.where(infinite, 0, sizes).sum().clamp(min=1)
    count = int(infinite.sum())
    if head.decoder is None:
        return Losses(mean, mean.detach(), None, count)
    inputs, labels = teacher(targets, ctc.device)
    logits = head.decoder(heard.memory, heard.lengths, inputs)
    attention = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE, label_smoothing=head.smoothing)
    loss = head.ctc_weight * mean + (1 - head.ctc_weight) * attention
    return Losses(loss, mean.detach(), attention.detach(), count)


def blanks(heard: Heard) -> tuple[Tensor, Tensor]:
    """Of the valid frames, how many have the blank as their likeliest token, and how many there are."""
    valid = frame_mask(heard.lengths, heard.log_probs.shape[1])
    return ((heard.log_probs.detach().argmax(-1) == 0) & valid).sum(), valid.sum()
