"""Base encoders of transformers, random weights, on a ragged batch: python tests/bench/transformers_encoder.py [--rounds 5].

Contestants: `transformers` on the padded batch with an attention mask (padding leaks into the states of group-norm models),
`transformers` item by item (the states that the items have alone), and sigssl's wrapper on the batch (the same states).
Interleaved; processor time, median over the rounds, and the largest difference to the item-by-item states.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sigssl.interop.transformers import TransformersEncoder, classes

warnings.simplefilter("ignore")
FAMILIES = ("wav2vec2", "wavlm", "data2vec-audio")
SECONDS = (8.0, 6.5, 5.0, 2.0)
States = list[Tensor]  # last states of the items


def contestants(family: str) -> dict[str, Callable[[], States]]:
    """Name -> the last states of every item."""
    torch.manual_seed(0)
    settings, make = classes(family)
    model: Any = make(settings()).eval()
    encoder = TransformersEncoder(model.config.to_dict(), False).eval()
    encoder.adopt(model)
    lengths = torch.tensor([round(16000 * s) for s in SECONDS])
    mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
    x = torch.randn(len(lengths), int(lengths.max())) * 0.1 * mask
    frames = encoder.front.count(lengths).tolist()

    def cut(states: Tensor) -> States:
        return [state[:n] for state, n in zip(states, frames, strict=True)]

    return {
        "transformers, item by item": lambda: [
            model(x[i : i + 1, :n], output_hidden_states=True).last_hidden_state[0] for i, n in enumerate(lengths.tolist())
        ],
        "transformers, padded batch": lambda: cut(model(x, attention_mask=mask, output_hidden_states=True).last_hidden_state),
        "sigssl, padded batch": lambda: cut(encoder(x[:, None], lengths).states[-1]),
    }


@torch.no_grad()
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print("| model | contestant | processor s per minute of audio | largest difference |\n|---|---|---|---|")
    for family in FAMILIES:
        runs = contestants(family)
        exact = runs["transformers, item by item"]()
        times: dict[str, list[float]] = {name: [] for name in runs}
        worst: dict[str, float] = {}
        for _ in range(rounds):
            for name, run in runs.items():
                began = time.process_time()
                states = run()
                times[name].append(time.process_time() - began)
                worst[name] = max(float((a - b).abs().max()) for a, b in zip(states, exact, strict=True))
        for name, some in times.items():
            print(f"| {family} | {name} | {statistics.median(some) * 60 / sum(SECONDS):.1f} | {worst[name]:.0e} |", flush=True)


if __name__ == "__main__":
    main()
