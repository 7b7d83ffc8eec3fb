"""`sigssl score TARGET`: a trained model, or what it made, on labelled data; one command, one metrics.json."""

from __future__ import annotations

from collections.abc import Sequence

from sigssl.cli.finetune import dispatch

TARGETS = {
    "sleep": "a stager on a folder of feature nights (records.csv + records/*.npz)",
    "asr": "recognised text beside its reference: word and character error rates",
}
EXAMPLE = "sigssl score sleep --model sleep_bandpower --root nights --out exp/score"


def main(argv: Sequence[str]) -> int:
    """Run a target; exit code 0."""
    return dispatch("score", TARGETS, EXAMPLE, argv)
