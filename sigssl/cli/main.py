"""`sigssl VERB ...`: finds the verb's file, runs it, and turns user errors into one clear line and an exit code.

Exit codes: 0 all done; 1 done, but some inputs were set aside (they are listed); 2 wrong usage or input; 70 a defect of
sigssl; 130 interrupted.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import NoReturn

from sigssl import __version__
from sigssl.errors import UserError, nearest

# verb -> what it does; each is the module sigssl.cli.<verb> with `main(argv) -> int`. Listed in the order of the data's path.
VERBS = {
    "doctor": "say what is installed, which fast paths work, and what to install for the rest",
    "prepare": "find or fetch a corpus and write it as a data directory",
    "validate": "check a data directory, and mend it with --fix",
    "split": "split a data directory by speaker or subject, seeded and saved",
    "subset": "keep some utterances or speakers of a data directory",
    "combine": "join data directories",
    "lhotse": "turn a data directory into lhotse's manifests or Shar, and cuts into a data directory",
    "features": "compute features of a data directory into Kaldi ark/scp",
    "pretrain": "pretrain an encoder without labels",
    "export": "write a run's encoder as safetensors + config, or for s3prl",
    "embed": "write an encoder's hidden states of a data directory, a folder or files",
    "probe": "train probes on frozen states beside their baselines",
    "stage": "stage nights of sleep: hypnograms, statistics, figures and a report of a folder of recordings",
    "spectra": "draw spectra and band powers of sleep stages, beside those of other nights",
    "finetune": "train on labels: speech recognition, or sleep stages",
    "lm": "build an n-gram language model from text",
    "transcribe": "turn recordings into text with a recogniser",
    "decode": "turn a model's log-probabilities into text, with or without a language model",
    "align": "place transcripts in time by a model's log-probabilities",
    "score": "evaluate a trained model on labelled data, or transcripts beside their references",
    "agreement": "compare two scorings of the same nights: kappa, scores by stage, Bland-Altman of the sleep statistics",
    "report": "draw and tabulate what a run left in its folder",
}


def usage() -> str:
    """The text of `sigssl --help`."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {what}" for name, what in VERBS.items())
    return (
        f"sigssl {__version__}: self-supervised learning on speech, audio and biosignals\n\n"
        f"usage: sigssl VERB [options]\n\nverbs, in the order of the data's path:\n{verbs}\n\n"
        f"'sigssl VERB --help' shows a verb's options with defaults, types and an example.\n"
        f"example: sigssl embed --model exp/tera recordings/ exp/emb --pool mean"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: the words after `sigssl`; the process's own by default.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if words[0] in ("-V", "--version"):
        print(__version__)
        return 0
    verb, rest = words[0], words[1:]
    if verb not in VERBS:
        print(f"sigssl: no verb {verb!r}.{nearest(verb, VERBS)} 'sigssl --help' lists them.", file=sys.stderr)
        return 2
    try:
        return int(importlib.import_module(f"sigssl.cli.{verb}").main(rest))
    except UserError as error:
        print(f"sigssl {verb}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"sigssl {verb}: interrupted; what is done is kept, the same command goes on from there.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except Exception:
        traceback.print_exc()
        print(f"sigssl {verb}: this is a defect of sigssl; please report it with the lines above.", file=sys.stderr)
        return 70


def run() -> NoReturn:
    """The `sigssl` command: :func:`main` as a whole process.

    What was registered for the end is run, in the interpreter's own order, and what was printed is flushed; its teardown is left
    out, since taking a loaded torch apart costs half a second and frees nothing that the end of the process does not.
    """
    code = main()
    threading._shutdown()  # type: ignore[attr-defined]  # first: tells pools of workers to end, for which the next line waits
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # a reader that went away, as of `sigssl ... | head`
            stream.flush()
    os._exit(code)
