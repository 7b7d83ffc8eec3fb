"""Hidden states of all items of a probe, computed once for each encoder: pooled [items, L, P], or every frame in a memory map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sigssl.data.datadir import Utterance
from sigssl.downstream.pooling import pool_frames
from sigssl.errors import UserError
from sigssl.extract.embed import hidden_states
from sigssl.types import Encoder

LABEL_SHIFT = 0.01  # seconds: the phones file holds one token for every 10 ms
SLACK = 0.05  # seconds by which labels and recording may differ in length


class FrameStates(NamedTuple):
    """Frames of all items: x [rows, L, D], a float16 memory map; item i owns rows spans[i, 0]:spans[i, 1]."""

    x: np.ndarray
    spans: np.ndarray


def pooled_states(
    encoder: Encoder, utterances: Sequence[Utterance], pool: str, segments: int, device: str = "cpu", batch_seconds: float = 60.0
) -> np.ndarray:
    """Pooled hidden states of every layer; frames are pooled batch by batch and never kept.

    Args:
        encoder: any encoder.
        utterances: in the order of the rows.
        pool: statistic over time.
        segments: parts in time that are pooled apart.
        device: where the encoder runs.
        batch_seconds: seconds of padded signal in one batch.

    Returns:
        float32 [N, L, P].

    Raises:
        UserError: a recording that cannot be read, or one too short for a single frame.
    """
    out: np.ndarray | None = None
    for index, states in _states(encoder, utterances, device, batch_seconds):
        pooled = pool_frames(states, torch.full((len(states),), states.shape[1]), pool, segments).numpy()
        if out is None:
            out = np.empty((len(utterances), *pooled.shape), dtype=np.float32)
        out[index] = pooled
    assert out is not None
    return out


def frame_states(
    encoder: Encoder, utterances: Sequence[Utterance], file: Path, device: str = "cpu", batch_seconds: float = 60.0
) -> FrameStates:
    """Every frame of every layer, as float16 in the memory map `file` (raw numbers, removed by the caller).

    Hidden states after layer norm are of order 1 to 10, which float16 keeps to three digits at half the disk.
    """
    spans = np.zeros((len(utterances), 2), dtype=np.int64)
    shape: tuple[int, ...] = ()
    written = 0
    file.unlink(missing_ok=True)  # an older map of it stays whole
    with file.open("wb") as sink:
        for index, states in _states(encoder, utterances, device, batch_seconds):
            frames = states.transpose(0, 1).half().contiguous().numpy()  # [T, L, D]
            shape = frames.shape[1:]
            sink.write(frames.tobytes())
            spans[index] = written, written + len(frames)
            written += len(frames)
    return FrameStates(np.memmap(file, dtype=np.float16, mode="r", shape=(written, *shape)), spans)


def _states(
    encoder: Encoder, utterances: Sequence[Utterance], device: str, batch_seconds: float
) -> Iterator[tuple[int, Float[Tensor, "layers time dim"]]]:
    """Position in `utterances` and the states of all layers, shortest utterances first, so that batches hold little padding."""
    place = {utterance.id: index for index, utterance in enumerate(utterances)}
    order = sorted(utterances, key=lambda u: (u.duration if u.duration is not None else 0.0, u.id))
    for id_, states in hidden_states(encoder, order, device=device, batch_seconds=batch_seconds):
        if states.shape[1] < 1:
            raise UserError(f"{utterances[place[id_]].path}: utterance {id_!r} is too short for one frame; leave it out.")
        yield place[id_], states.float()


def align_labels(labels: Sequence[str], frames: int, frame_shift: float, where: str = "") -> list[str]:
    """The label at the middle of every frame.

    Args:
        labels: one for every 10 ms.
        frames: number of frames.
        frame_shift: seconds from one frame to the next.
        where: the utterance, for the message.

    Raises:
        UserError: labels and frames differ in length by more than 50 ms and 2 frames.
    """
    gap = abs(len(labels) * LABEL_SHIFT - frames * frame_shift)
    if gap > SLACK + 2 * frame_shift:
        raise UserError(
            f"{where}: {len(labels)} labels, {len(labels) * LABEL_SHIFT:.2f} s, for {frames * frame_shift:.2f} s of frames; "
            "expected one label for every 10 ms."
        )
    middles = np.floor((np.arange(frames) + 0.5) * frame_shift / LABEL_SHIFT).astype(int)
    return [labels[i] for i in middles.clip(0, len(labels) - 1)]
