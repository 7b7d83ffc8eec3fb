"""Recognising a dev set while training: greedily, whole batches at a time."""

from __future__ import annotations

import numpy as np

from sigssl.asr.ctc import collapse
from sigssl.asr.inputs import Inputs
from sigssl.asr.losses import blanks, ctc_losses
from sigssl.asr.scoring import score
from sigssl.asr.tokens import PLAIN
from sigssl.data.batching import Batching, Planned, Position


class Dev:
    """A dev set.

    Args:
        inputs: its examples.
        batch_seconds: seconds recognised at a time.
    """

    def __init__(self, inputs: Inputs, batch_seconds: float) -> None:
        self.inputs = inputs
        plan = Batching(np.array([example.seconds for example in inputs.examples]), batch_seconds).plan(0)
        self._plans = [Planned(Position(0, step), tuple(items.tolist())) for step, (items,) in enumerate(plan)]

    def scores(self) -> dict[str, float]:
        """`wer` and `cer` of greedy decoding over all utterances, `loss` (CTC, per token), `blank_ratio`.

        The recogniser must be in eval mode. Utterances that cannot be read are left out.
        """
        recogniser, examples = self.inputs.recogniser, self.inputs.examples
        references, heard_texts = {}, {}
        loss = tokens = blank = frames = 0.0
        for loaded in self.inputs.load(self._plans):
            if not loaded.items:
                continue
            states, counts = self.inputs.states(loaded)
            heard = recogniser.hear(recogniser.head.mix(states), counts)
            targets = [examples[item].tokens for item in loaded.items]
            some, infinite = ctc_losses(heard.log_probs, heard.lengths, targets)
            loss += some.sum().item()
            tokens += sum(len(target) for target, bad in zip(targets, infinite.tolist(), strict=True) if not bad)
            ones, all_ = blanks(heard)
            blank, frames = blank + int(ones), frames + int(all_)
            paths = heard.log_probs.argmax(-1).cpu()
            for item, path, length in zip(loaded.items, paths, heard.lengths.tolist(), strict=True):
                references[examples[item].id] = examples[item].text
                heard_texts[examples[item].id] = recogniser.tokens.decode(collapse(path[:length].tolist()))
        scored = score(references, heard_texts, {}, PLAIN)
        words, characters = [one.words for one in scored], [one.characters for one in scored]
        return {
            "wer": sum(one.errors for one in words) / max(sum(one.total for one in words), 1),
            "cer": sum(one.errors for one in characters) / max(sum(one.total for one in characters), 1),
            "loss": loss / max(tokens, 1.0),
            "blank_ratio": blank / max(frames, 1.0),
        }
