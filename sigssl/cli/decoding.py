"""What `sigssl decode` and `sigssl transcribe` share: the options of the search, and the files that come out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from sigssl.asr.decode import Part
    from sigssl.asr.tokens import Tokens
    from sigssl.data.datadir import DataDir

METHODS = {
    "auto": "auto: joint where the model has an attention decoder, else beam",
    "greedy": "greedy",
    "beam": "beam: prefix beam search, any spelling",
    "lexicon": "lexicon: flashlight-text, only words of the model or lexicon",
    "joint": "joint: attention decoder and CTC together",
}


def add_search(parser: ArgumentParser, methods: list[str], default: str) -> None:
    """The options of the search; `search_settings` reads them."""
    add = parser.add_argument
    add("--method", type=Literal[tuple(methods)], default=default, help="; ".join(METHODS[name] for name in methods))
    add("--beam", type=int, default=50, help="hypotheses kept from frame to frame")
    add("--nbest", type=int, default=1, help="texts in nbest.jsonl")
    add("--lm", type=str, default="", help="ARPA file of a language model of words (sigssl lm makes one)")
    add("--lm-weight", type=float, default=0.5, help="weight of its natural logarithms")
    add("--word-bonus", type=float, default=1.5, help="added for each word, against the model's liking for few")
    add("--unknown", type=float, default=-10.0, help="added for each word that the model lacks")
    add("--lexicon", type=str, default="", help="file of lines WORD TOKEN TOKEN ...; by default the model's words are spelled")
    add("--longest", type=float, default=60.0, help="seconds above which an utterance is searched in pieces, cut at pauses")


def search_settings(args: Namespace) -> dict[str, Any]:
    """The words of :func:`add_search` as arguments of `DecodeSettings`."""
    names = ("method", "beam", "nbest", "lm", "lm_weight", "word_bonus", "unknown", "lexicon", "longest")
    return {name: args[name] for name in names}


def write_results(out: Path, part: Part, tokens: Tokens, about: dict[str, Any], taken: float, places: DataDir | None) -> int:
    """Write text, ctm, nbest.jsonl, decode.json, tokens.json and quarantine.tsv, and say so.

    Args:
        out: the folder.
        part: what was found, and what was set aside.
        tokens: of the model.
        about: for decode.json.
        taken: seconds.
        places: data directory whose segments the CTM counts from.

    Returns:
        The exit code: 1 where utterances were set aside.
    """
    from sigssl.asr.store import TOKENS
    from sigssl.asr.transcript import write_transcripts
    from sigssl.data.io import write_json, write_text

    write_transcripts(out, part.transcripts, places)
    tokens.save(out / TOKENS)
    seconds = sum(one.seconds for one in part.transcripts)
    blanks = sum(one.blanks * one.seconds for one in part.transcripts) / max(seconds, 1e-9)
    about = {**about, "utterances": len(part.transcripts), "set_aside": len(part.bad)}
    write_json(out / "decode.json", {**about, "hours": seconds / 3600, "blank_ratio": blanks, "seconds_taken": round(taken, 2)})
    lines = "".join(f"{id}\t{file}\t{' '.join(reason.split())}\n" for id, file, reason in part.bad)
    write_text(out / "quarantine.tsv", lines)
    print(
        f"{len(part.transcripts)} utterances, {seconds / 3600:.2f} h in {taken:.1f} s ({seconds / taken:.0f} x real time), "
        f"{blanks:.0%} of frames blank: {out}/text, ctm, nbest.jsonl"
    )
    if part.bad:
        print(f"{len(part.bad)} set aside, listed in {out}/quarantine.tsv; the first: {part.bad[0][2]}", file=sys.stderr)
    return 1 if part.bad else 0
