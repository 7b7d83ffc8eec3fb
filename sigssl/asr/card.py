"""The model card that is written with a recogniser."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from sigssl.asr.recogniser import Recogniser


def card_of(recogniser: Recogniser, metrics: dict[str, Any], train: str, dev: str) -> str:
    """What is known of a recogniser without its author, as Markdown.

    Args:
        recogniser: what it is about.
        metrics: of its run, as metrics.json.
        train: data directory it was trained on; only the last part of the path is told.
        dev: data directory by which the best update was chosen.
    """
    tokens, encoder = recogniser.tokens, type(recogniser.encoder).__name__
    normaliser = ", ".join(f"{name} {value!r}" for name, value in asdict(tokens.normaliser).items())
    weights = recogniser.head.mix.weights
    layers = "last hidden state" if weights is None else "weighted sum of hidden states, weights " + " ".join(
        f"{share:.2f}" for share in weights.detach().softmax(0).tolist()
    )  # fmt: skip
    start = {"pretrained": "pretrained weights", "scratch": "new random weights", "features": "no weights (surface features)"}
    hybrid = "" if recogniser.head.decoder is None else " and an attention decoder"
    counts, shift = metrics["utterances"], f"{recogniser.frame_shift * 1000:g} ms"
    hours, scores = f"{metrics['hours']:.2f} hours", f"WER {metrics['wer']:.1%}, CER {metrics['cer']:.1%}"
    return f"""# Speech recogniser

- Encoder: {encoder} at {recogniser.sample_rate} Hz, from {start[metrics["start"]]}, tuned: {metrics["tune"]}; {layers}.
- Head: {metrics["head"]}, CTC over {len(tokens)} {tokens.kind}{hybrid}; a row of log-probabilities every {shift}.
- Trained on `{Path(train).name}`: {hours}, {counts["train"]} utterances, {metrics["updates"]} updates.
- Dev set `{Path(dev).name}`, {counts["dev"]} utterances, greedy decoding without language model: {scores}
  (update {metrics["best_update"]}, chosen on this set, so expect more errors on other speech).

## Text

Transcripts were normalised before training, and texts come out in that form: {normaliser}.
It writes these tokens and no others: {" ".join(tokens.tokens[1:60])}{" ..." if len(tokens) > 60 else ""}

## Use

    sigssl transcribe recording.flac --model THIS_FOLDER --out transcripts

## Limits

It knows the language, the kind of speech and the recording conditions of its training data, and nothing says how it does on others.
It writes no punctuation that its transcripts had not, and tells no speakers apart. Check what it writes before you rely on it.
"""
