"""`sigssl lhotse to|from`: data directories and lhotse's manifests."""

from __future__ import annotations

from collections.abc import Sequence

from sigssl.cli.finetune import dispatch

TARGETS = {"to": "a data directory to cuts, or to Shar", "from": "cuts, recordings or Shar to a data directory"}
EXAMPLE = "sigssl lhotse to data/train exp/lhotse/train.jsonl.gz"


def main(argv: Sequence[str]) -> int:
    """Run a target; exit code 0."""
    return dispatch("lhotse", TARGETS, EXAMPLE, argv)
