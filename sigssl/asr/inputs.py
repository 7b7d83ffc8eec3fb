"""What a recogniser is trained and tested on, in memory as far as it fits: hidden states under a frozen encoder, else signals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sigssl.asr.examples import Example, Skipped
from sigssl.asr.recogniser import Recogniser
from sigssl.data import audio
from sigssl.data.batching import Planned
from sigssl.errors import UserError
from sigssl.extract.reading import ahead

GIB = 2**30


class Loaded(NamedTuple):
    """One batch that was read: its plan, the items that could be, and their signals [n] (None where states are kept)."""

    planned: Planned
    items: list[int]
    signals: list[Tensor] | None


class Inputs:
    """Signals of examples, or the hidden states that a frozen encoder makes of them.

    States are kept where all of them fit, and are then computed utterance by utterance, so that they depend on no batch and a
    resumed run has the same. Signals are kept as they come while they fit.

    Args:
        examples: what.
        recogniser: the encoder, on the device where it computes.
        frozen: whether the encoder never changes.
        room: bytes that may be used.

    Attributes:
        stores: whether states are kept.
        used: bytes that are, or will be, kept.
        failed: what could not be read, by item.
    """

    def __init__(self, examples: Sequence[Example], recogniser: Recogniser, *, frozen: bool, room: float) -> None:
        self.examples, self.recogniser = examples, recogniser
        mix = recogniser.head.mix
        wide = int(recogniser.encoder.dim) * (1 if mix.weights is None else mix.states)  # type: ignore[arg-type]
        states = 4.0 * wide * sum(example.frames for example in examples)
        signals = 4.0 * recogniser.sample_rate * sum(example.seconds for example in examples)
        self.stores = frozen and states <= room
        self.used = states if self.stores else min(signals, room)
        self.failed: dict[int, Skipped] = {}
        self._room = 0.0 if self.stores else room
        self._kept: dict[int, Tensor] = {}

    def load(self, plans: Iterable[Planned]) -> Iterator[Loaded]:
        """Read batches one ahead of their use; what cannot be read is left out of them."""
        return map(self._load, plans) if self.stores else ahead(map(self._load, plans))

    def _load(self, planned: Planned) -> Loaded:
        signals = {}
        for item in planned.items:
            if self.stores and item in self._kept:
                continue
            signal = self._signal(item)
            if signal is not None and self.stores:
                self._kept[item] = self._states(signal)
            elif signal is not None:
                signals[item] = signal
        items = [item for item in planned.items if item not in self.failed]
        return Loaded(planned, items, None if self.stores else [signals[item] for item in items])

    def states(self, loaded: Loaded) -> tuple[list[Tensor], Tensor]:
        """The states that the head weighs [B, T, D], padded, and the valid frames [B]."""
        device = self.recogniser.device
        if loaded.signals is None:
            kept = [self._kept[item] for item in loaded.items]
            frames = torch.tensor([len(one) for one in kept], device=device)
            return list(pad_sequence(kept, batch_first=True).to(device).unbind(2)), frames
        lengths = torch.tensor([len(signal) for signal in loaded.signals], device=device)
        return self.recogniser.states(pad_sequence(loaded.signals, batch_first=True)[:, None].to(device), lengths)

    @torch.no_grad()
    def _states(self, signal: Tensor) -> Tensor:
        device = self.recogniser.device
        states, frames = self.recogniser.states(signal[None, None].to(device), torch.tensor([len(signal)], device=device))
        return torch.stack([state[0, : int(frames)].float().cpu() for state in states], 1)  # [T, states, D]

    def _signal(self, item: int) -> Tensor | None:
        if item in self._kept or item in self.failed:
            return self._kept.get(item)
        example = self.examples[item]
        _, path, start, end, _, _ = example.utterance
        try:
            signal = torch.from_numpy(audio.read(path, start, end, self.recogniser.sample_rate)[0])
        except (UserError, OSError) as error:
            self.failed[item] = Skipped(example.id, "unreadable", " ".join(str(error).split()))
            return None
        if signal.nbytes <= self._room:
            self._room -= signal.nbytes
            self._kept[item] = signal
        return signal
