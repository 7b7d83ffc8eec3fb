"""`sigssl finetune TARGET`: train on labels, on stored features or on top of an encoder."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from sigssl.errors import UserError, nearest

TARGETS = {
    "asr": "speech recognition: CTC, or CTC and attention, on an encoder or on features",
    "sleep": "sleep stages of epochs, with temporal context, over subject-wise folds",
}
EXAMPLE = "sigssl finetune sleep --config recipes/conf/sleep/bandpower.yaml --data nights --out exp/sleep"


def main(argv: Sequence[str]) -> int:
    """Run a target; exit code 0."""
    return dispatch("finetune", TARGETS, EXAMPLE, argv)


def dispatch(verb: str, targets: dict[str, str], example: str, argv: Sequence[str]) -> int:
    """Hand the words after a verb's target to its module, `sigssl.cli.<verb>_<target>`.

    Raises:
        UserError: no such target.
        SystemExit: after the help, as for every verb.
    """
    if not argv or argv[0] in ("-h", "--help"):
        width = max(map(len, targets))
        lines = "\n".join(f"  {name:<{width}}  {what}" for name, what in targets.items())
        print(f"usage: sigssl {verb} TARGET [options]\n\ntargets:\n{lines}\n\nexample: {example}")
        raise SystemExit(0)
    if argv[0] not in targets:
        raise UserError(f"no target {argv[0]!r}; known: {', '.join(targets)}.{nearest(argv[0], targets)}")
    return int(importlib.import_module(f"sigssl.cli.{verb}_{argv[0]}").main(argv[1:]))
