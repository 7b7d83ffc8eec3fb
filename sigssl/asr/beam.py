"""CTC prefix beam search (Graves & Jaitly 2014; Hannun et al. 2014), vectorised over utterances, beam and tokens.

A prefix is a 64-bit hash of its tokens: two of a beam of 50 being mixed up over an hour is as likely as 1 in 10^12. Prefixes are
told from their parents by hash, so that a prefix reached by staying and by extension is one; what was chosen in each frame is
kept, and the tokens are read from that at the end.

The scores that the search itself has are sums over those paths only that stayed in the beam. So the hypotheses at the end, and
with them the collapsed best path, are scored again by the sum over all paths: without a language model the first is never
below greedy search, with one it is not below greedy's text in the combined score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from sigssl.asr.beam_words import Words
from sigssl.asr.ctc import Hypothesis, collapse, total_log_prob
from sigssl.asr.fusion import Fusion
from sigssl.errors import UserError

ROOT, NOBODY = np.uint64(0x9E3779B97F4A7C15), np.uint64(1)  # hash of the empty prefix; that of a parent which none has
DEAD = np.uint64(0)  # hash of a slot of the beam that holds no prefix
MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(31))


@dataclass(frozen=True)
class BeamSettings:
    """How wide the search is.

    Attributes:
        beam: prefixes that are kept from frame to frame.
        nbest: hypotheses that are returned.
        tokens: in each frame only so many of the likeliest tokens are tried.
        threshold: nats below the frame's likeliest token (the blank included) at which a token is not tried.
    """

    beam: int = 50
    nbest: int = 1
    tokens: int = 40
    threshold: float = 15.0

    def __post_init__(self) -> None:
        for name in ("beam", "nbest", "tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} {getattr(self, name)}; expected 1 or more.")
        if not self.threshold > 0:
            raise UserError(f"threshold {self.threshold}; expected more than 0 nats.")


@dataclass
class _Beams:
    """The beams of utterances [B, K]: ln of the mass that ends in blank and in the last token, what is added for words, ..."""

    blank: np.ndarray
    last: np.ndarray
    added: np.ndarray
    token: np.ndarray
    hash: np.ndarray
    parent: np.ndarray

    @classmethod
    def start(cls, batch: int, width: int) -> _Beams:
        """The empty prefix in the first slot."""
        nothing = np.full((batch, width), -np.inf)
        made = cls(
            nothing, nothing.copy(), np.zeros((batch, width)), np.zeros((batch, width), np.int64),
            np.full((batch, width), DEAD), np.full((batch, width), NOBODY),
        )  # fmt: skip
        made.blank[:, 0], made.hash[:, 0] = 0.0, ROOT
        return made

    def head(self, count: int) -> _Beams:
        """Those of the first utterances."""
        return _Beams(*(array[:count] for array in vars(self).values()))

    def put(self, other: _Beams) -> None:
        """Overwrite those of the first utterances."""
        for mine, its in zip(vars(self).values(), vars(other).values(), strict=True):
            mine[: len(its)] = its


def beam_search(
    log_probs: Float[Tensor, "batch time tokens"],
    lengths: Int[Tensor, " batch"],
    settings: BeamSettings = BeamSettings(),
    fusion: Fusion | None = None,
) -> list[list[Hypothesis]]:
    """The likeliest token sequences of each utterance, best first.

    Args:
        log_probs: natural logarithms, blank first; what lies behind `lengths` is not looked at.
        lengths: frames.
        settings: how wide.
        fusion: a language model of words; it then counts in the search and in the scores.
    """
    order = np.argsort(-lengths.cpu().numpy(), kind="stable")
    sizes = lengths.cpu().numpy()[order]
    rows = log_probs.detach().cpu().double().numpy()[order]
    candidates, values = _candidates(rows, sizes, settings)
    beams = _Beams.start(len(sizes), settings.beam)
    words = [Words(fusion, int(ROOT)) for _ in sizes] if fusion else []
    trail = []
    for t in range(int(sizes.max(initial=0))):
        active = int(np.searchsorted(-sizes, -t))  # the longer ones come first
        width = max(int(np.isfinite(values[:active, t]).sum(-1).max()), 1)
        some = (candidates[:active, t, :width], values[:active, t, :width])
        stepped, source, token = _step(beams.head(active), rows[:active, t], *some, words)
        beams.put(stepped)
        trail.append((source.astype(np.int32), token.astype(np.int32)))
    found: list[list[Hypothesis]] = [[] for _ in sizes]
    for place, original in enumerate(order):
        found[original] = _finish(beams, place, trail[: sizes[place]], log_probs[original, : sizes[place]], settings, fusion, words)
    return found


def _candidates(rows: np.ndarray, sizes: np.ndarray, settings: BeamSettings) -> tuple[np.ndarray, np.ndarray]:
    """Tokens to try [B, T, C], the likeliest first, and their ln P, -inf for those below the threshold."""
    clean = np.where(np.arange(rows.shape[1])[None, :, None] < sizes[:, None, None], rows, -np.inf)
    best = clean.max(-1, keepdims=True, initial=-np.inf)
    spoken = clean[..., 1:]
    tokens = np.argsort(-spoken, axis=-1, kind="stable")[..., : settings.tokens]
    values = np.take_along_axis(spoken, tokens, -1)
    return tokens + 1, np.where(values >= best - settings.threshold, values, -np.inf)


def _step(
    old: _Beams, row: np.ndarray, tokens: np.ndarray, values: np.ndarray, words: list[Words]
) -> tuple[_Beams, np.ndarray, np.ndarray]:
    """One frame.

    Args:
        old: beams [B, K].
        row: ln P of all tokens [B, V].
        tokens: those to try [B, C].
        values: their ln P [B, C].
        words: language model's memory of each utterance; empty without one.

    Returns:
        The new beams, the slot that each came from [B, K], and the token that was added [B, K], 0 for none.
    """
    batch, width = old.hash.shape
    total = np.logaddexp(old.blank, old.last)
    same = old.token[:, :, None] == tokens[:, None, :]
    longer = np.where(same, old.blank[:, :, None], total[:, :, None]) + values[:, None, :]
    stay_blank = total + row[:, :1]
    stay_last = old.last + np.take_along_axis(row, old.token, -1)
    _merge(old, tokens, longer, stay_last)
    added = old.added[:, :, None]
    if words:
        closing, ends = _closing(old, tokens, values, words)
        added = added + closing[:, :, None] * ends[:, None, :]
    stay = np.logaddexp(stay_blank, stay_last) + old.added
    scores = np.concatenate([stay, (longer + added).reshape(batch, -1)], axis=1)
    chosen = np.argpartition(-scores, width - 1, axis=1)[:, :width]
    kept = chosen < width
    source = np.where(kept, chosen, (chosen - width) // tokens.shape[1])
    token = np.where(kept, 0, np.take_along_axis(tokens, np.where(kept, 0, (chosen - width) % tokens.shape[1]), 1))
    hashes, score = np.take_along_axis(old.hash, source, 1), np.take_along_axis(scores, chosen, 1)
    alive = np.isfinite(score)
    extended = _extend(hashes, token)
    flat = longer.reshape(batch, -1)
    new_added = np.take_along_axis(old.added, source, 1)
    if words:
        spread = np.broadcast_to(added, longer.shape).reshape(batch, -1)
        new_added = np.where(kept, new_added, np.take_along_axis(spread, np.where(kept, 0, chosen - width), 1))
    new = _Beams(
        blank=np.where(kept, np.take_along_axis(stay_blank, source, 1), -np.inf),
        last=np.where(
            kept, np.take_along_axis(stay_last, source, 1), np.take_along_axis(flat, np.where(kept, 0, chosen - width), 1)
        ),
        added=new_added,
        token=np.where(kept, np.take_along_axis(old.token, source, 1), token),
        hash=np.where(alive, np.where(kept, hashes, extended), DEAD),
        parent=np.where(alive, np.where(kept, np.take_along_axis(old.parent, source, 1), hashes), NOBODY),
    )
    for place, memory in enumerate(words):
        if place == batch:
            break
        grown = np.flatnonzero(~kept[place] & alive[place])
        new.added[place, grown] += memory.remember(hashes[place, grown], extended[place, grown], token[place, grown])
    return new, source, token


def _merge(old: _Beams, tokens: np.ndarray, longer: np.ndarray, stay_last: np.ndarray) -> None:
    """Move the mass of an extension that is in the beam already to where it is: `longer` loses it, `stay_last` gains it."""
    parents = old.hash[:, None, :] == old.parent[:, :, None]
    lasts = tokens[:, None, :] == old.token[:, :, None]
    item, child = np.nonzero(parents.any(-1) & lasts.any(-1))
    if len(item):
        parent, column = parents[item, child].argmax(-1), lasts[item, child].argmax(-1)
        stay_last[item, child] = np.logaddexp(stay_last[item, child], longer[item, parent, column])
        longer[item, parent, column] = -np.inf


def _closing(old: _Beams, tokens: np.ndarray, values: np.ndarray, words: list[Words]) -> tuple[np.ndarray, np.ndarray]:
    """What ending its word adds to each prefix [B, K], and which of the tokens end a word [B, C]; asked only where one is tried."""
    ends = words[0].closes[tokens] & np.isfinite(values)
    added = np.zeros(old.hash.shape)
    for place in np.flatnonzero(ends.any(-1)):
        added[place] = words[place].closing(old.hash[place])
    return added, ends


def _extend(hashes: np.ndarray, token: np.ndarray) -> np.ndarray:
    """The hashes of prefixes with one more token: an invertible mixing of the old one, another for each token."""
    mixed = (hashes + (token.astype(np.uint64) + np.uint64(1)) * MIX[1]) * MIX[0]
    return (mixed ^ (mixed >> MIX[2])) * MIX[1]


def _finish(
    beams: _Beams,
    place: int,
    trail: list[tuple[np.ndarray, np.ndarray]],
    rows: Tensor,
    settings: BeamSettings,
    fusion: Fusion | None,
    words: list[Words],
) -> list[Hypothesis]:
    """Read the best prefixes of an utterance from the trail, and score them and the collapsed best path over all paths."""
    rough = np.logaddexp(beams.blank[place], beams.last[place]) + beams.added[place]
    if words:
        rough = rough + words[place].ending(beams.hash[place])
    slots = [slot for slot in np.argsort(-rough, kind="stable")[: settings.nbest] if np.isfinite(rough[slot])]
    sequences = [_tokens(trail, place, int(slot)) for slot in slots]
    sequences = list(dict.fromkeys([*sequences, collapse(rows.argmax(-1).tolist())]))
    made = []
    for tokens, acoustic in zip(sequences, total_log_prob(rows, sequences).tolist(), strict=True):
        made.append(Hypothesis(tokens, acoustic + (fusion.of(tokens) if fusion else 0.0), acoustic))
    return sorted(made, key=lambda hypothesis: -hypothesis.score)[: settings.nbest]


def _tokens(trail: list[tuple[np.ndarray, np.ndarray]], place: int, slot: int) -> tuple[int, ...]:
    found = []
    for source, token in reversed(trail):
        if token[place, slot]:
            found.append(int(token[place, slot]))
        slot = int(source[place, slot])
    return tuple(reversed(found))
