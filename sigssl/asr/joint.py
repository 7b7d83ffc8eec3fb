"""Joint decoding of a hybrid: beam search over the attention decoder's tokens, with CTC prefix scores (Watanabe et al. 2017).

score(h) = w ln P_ctc(h, ... | x) + (1 - w) ln P_att(h | x), where P_ctc of an unfinished h is the probability that the text begins
with h (Graves 2008, section 7.4). Both only fall as h grows, so the search ends when no unfinished hypothesis can win any more.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sigssl.asr.attention import EDGE, Cache
from sigssl.asr.ctc import Hypothesis, total_log_prob
from sigssl.asr.heads import Head

CANDIDATES = 24  # next tokens that are tried of each hypothesis, the likeliest by attention


class CtcPrefixes:
    """CTC prefix scores of hypotheses of one utterance, all next tokens and frames at once, in double precision.

    The recursion over frames r[t] = logaddexp(r[t - 1], a[t - 1]) + y[t] is Y[t] + logcumsumexp(a[s - 1] - Y[s - 1]) with Y the
    running sum of y, which needs no loop.

    Args:
        log_probs: ln P of tokens [T, V], blank first.
    """

    def __init__(self, log_probs: Float[Tensor, "time tokens"]) -> None:
        self.y = log_probs.double().t()  # [V, T]
        self.sums = torch.nn.functional.pad(self.y.cumsum(1), (1, 0))  # [V, T + 1]; of the first t frames

    def start(self) -> Float[Tensor, "1 2 steps"]:
        """The state of the empty prefix: ln P [1, 2, T + 1] that t frames say it and end in its last token, or in blank."""
        return torch.stack([torch.full_like(self.sums[0], -torch.inf), self.sums[0]])[None]

    def extend(self, states: Tensor, last: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Score extensions.

        Args:
            states: of K hypotheses [K, 2, T + 1].
            last: their last tokens [K]; the blank for the empty one.
            tokens: next tokens to try [K, C].

        Returns:
            Ln P that the text begins so [K, C], and the states [K, C, 2, T + 1].
        """
        either = torch.logaddexp(states[:, 0], states[:, 1])
        same = tokens == last[:, None]
        before = torch.where(same[:, :, None], states[:, 1, None], either[:, None])[:, :, :-1]  # a token again needs a blank
        score = (before + self.y[tokens]).logsumexp(2)
        said = self._run(before, self.sums[tokens])
        blank = self._run(said[:, :, :-1], self.sums[0].expand_as(said))
        return score, torch.stack([said, blank], 2)

    def whole(self, states: Tensor) -> Tensor:
        """Ln P [K] that the text is the prefix."""
        return torch.logaddexp(states[:, 0, -1], states[:, 1, -1])

    @staticmethod
    def _run(start: Tensor, sums: Tensor) -> Tensor:
        """R [K, C, T + 1] of what enters [K, C, T] before each frame, and the running sums [K, C, T + 1]; r[0] is -inf."""
        inner = torch.logcumsumexp(start - sums[:, :, :-1], 2) + sums[:, :, 1:]
        return torch.nn.functional.pad(inner, (1, 0), value=-torch.inf)


class _Beam(NamedTuple):
    """Unfinished hypotheses: tokens, ln P of attention [K], CTC states [K, 2, T + 1], joint scores [K], decoder's cache."""

    tokens: list[tuple[int, ...]]
    attention: Tensor
    states: Tensor
    scores: Tensor
    cache: Cache | None


class JointSearch:
    """The search, ready to run.

    Args:
        head: a hybrid in eval mode; its `ctc_weight` is w.
        beam: hypotheses kept from token to token.
        nbest: hypotheses returned.
    """

    def __init__(self, head: Head, beam: int = 8, nbest: int = 1) -> None:
        assert head.decoder is not None
        self.decoder, self.weight = head.decoder, head.ctc_weight
        self.beam, self.nbest = max(beam, nbest), nbest

    @torch.inference_mode()
    def __call__(self, log_probs: Float[Tensor, "time tokens"], memory: Float[Tensor, "time wide"]) -> list[Hypothesis]:
        """The likeliest token sequences of an utterance, best first; `acoustic` is CTC's share alone.

        Args:
            log_probs: of the CTC output [T, V].
            memory: what the decoder reads [T, H].
        """
        ctc, device = CtcPrefixes(log_probs.cpu()), next(self.decoder.parameters()).device
        read = self.decoder.read(memory[None].to(device).float(), torch.tensor([len(memory)], device=device))
        beam = _Beam([()], torch.zeros(1, dtype=torch.float64), ctc.start(), torch.zeros(1, dtype=torch.float64), None)
        ended: dict[tuple[int, ...], float] = {}
        while len(beam.tokens):
            last = torch.tensor([tokens[-1] if tokens else EDGE for tokens in beam.tokens])
            rows, cache = self.decoder.step(read, last.to(device), beam.cache)
            attention = rows.cpu().double() + beam.attention[:, None]
            whole = self._joined(attention[:, EDGE], ctc.whole(beam.states))
            ended |= {t: score for t, score in zip(beam.tokens, whole.tolist(), strict=True) if score > -torch.inf}
            beam = self._grow(beam, attention, ctc, last, cache, self._bar(ended))
        best = sorted(ended, key=lambda tokens: -ended[tokens])[: self.nbest] or [()]
        acoustic = total_log_prob(log_probs, best).tolist()
        return [Hypothesis(t, ended.get(t, 0.0), a) for t, a in zip(best, acoustic, strict=True)]

    def _grow(self, beam: _Beam, attention: Tensor, ctc: CtcPrefixes, last: Tensor, cache: Cache, bar: float) -> _Beam:
        """One token more; only what can still win over finished hypotheses of score `bar` is kept."""
        chances, tokens = attention[:, 1:].topk(min(CANDIDATES, attention.shape[1] - 1), 1)
        prefix, states = ctc.extend(beam.states, last, tokens + 1)
        scores = self._joined(chances, prefix)
        best, place = scores.flatten().topk(min(self.beam, scores.numel()))
        place = place[best > bar]
        rows, columns = place // scores.shape[1], place % scores.shape[1]
        longer = [(*beam.tokens[row], int(tokens[row, column]) + 1) for row, column in zip(rows, columns, strict=True)]
        return _Beam(
            longer, chances[rows, columns], states[rows, columns], scores[rows, columns], cache.pick(rows.to(cache.keys[0].device))
        )

    def _joined(self, attention: Tensor, ctc: Tensor) -> Tensor:
        share = (1 - self.weight) * attention if self.weight < 1 else 0.0
        return self.weight * ctc + share

    def _bar(self, ended: dict[tuple[int, ...], float]) -> float:
        """The score of the worst finished hypothesis that would be returned."""
        scores = sorted(ended.values(), reverse=True)
        return scores[self.nbest - 1] if len(scores) >= self.nbest else -torch.inf
