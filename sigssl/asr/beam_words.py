"""What a beam search with a language model remembers of the prefixes of one utterance."""

from __future__ import annotations

import numpy as np

from sigssl.asr.fusion import Fusion, Prefix


class Words:
    """Prefix hash -> the language model's view of it, each computed once.

    Args:
        fusion: the model.
        root: hash of the empty prefix.
    """

    def __init__(self, fusion: Fusion, root: int) -> None:
        self.fusion = fusion
        self.closes = fusion.tokens.closes
        self._prefix: dict[int, Prefix] = {root: fusion.root()}
        self._charge: dict[int, float] = {}
        self._closing: dict[Prefix, float] = {}

    def remember(self, parents: np.ndarray, children: np.ndarray, tokens: np.ndarray) -> list[float]:
        """Note prefixes [N] that were made by adding a token to known ones; what each pays for that."""
        for parent, child, token in zip(parents.tolist(), children.tolist(), tokens.tolist(), strict=True):
            if child not in self._prefix:
                made = self._prefix[child] = self.fusion.extend(self._prefix[parent], token)
                self._charge[child] = self.fusion.charge(self._prefix[parent], made, token)
        return [self._charge[child] for child in children.tolist()]

    def closing(self, hashes: np.ndarray) -> np.ndarray:
        """What closing its word adds to each prefix [K]; 0 for empty slots."""
        return np.array([self._close(self._prefix[key]) if key in self._prefix else 0.0 for key in hashes.tolist()])

    def ending(self, hashes: np.ndarray) -> np.ndarray:
        """What the end of the sentence adds to each [K]."""
        return np.array([self.fusion.ending(self._prefix[key]) if key in self._prefix else 0.0 for key in hashes.tolist()])

    def _close(self, prefix: Prefix) -> float:
        if prefix not in self._closing:
            self._closing[prefix] = self.fusion.closing(prefix)
        return self._closing[prefix]
