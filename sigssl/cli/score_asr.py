"""`sigssl score asr`: recognised text beside its reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from sigssl.cli.common import make_parser, parse
from sigssl.errors import UserError

if TYPE_CHECKING:
    from sigssl.asr.tokens import Normaliser

EXAMPLE = "sigssl score asr --ref data/test --hyp exp/decode/text --out exp/score"


def main(argv: Sequence[str]) -> int:
    """Run the verb; exit code 0."""
    parser = make_parser(
        "score asr",
        "Word and character error rates of recognised text: pooled, by speaker, with 95 % intervals over speakers, alignments and "
        "the most frequent confusions.",
        EXAMPLE,
    )
    parser.add_argument("--ref", type=str, required=True, help="Data directory (text, utt2spk), or Kaldi's text file.")
    parser.add_argument(
        "--hyp",
        type=str,
        nargs="+",
        required=True,
        help="Kaldi's text file, or a folder of sigssl decode or transcribe; several (of folds) are joined.",
    )
    parser.add_argument("--out", type=str, required=True, help="Folder for metrics.json, table.md, per_utt and wer.")
    parser.add_argument(
        "--normalise",
        type=str,
        default="auto",
        help="How both texts are normalised: a tokens.json (as its model's transcripts were), none (spaces only), or auto: the "
        "tokens.json beside the hypothesis where there is one, else none.",
    )
    parser.add_argument(
        "--arm", type=str, default="", help="What this is called in the table of sigssl report; default: OUT's name."
    )
    parser.add_argument("--fraction", type=float, default=1.0, help="Share of the labels that was trained on, for that table.")
    parser.add_argument("--bootstrap", type=int, default=2000, help="Resamples of the speakers for the intervals.")
    args = parse(parser, argv)

    from sigssl.asr.scoring import score, summarise
    from sigssl.data.io import read_table
    from sigssl.reports.asr import KIND, asr_page, write_asr_score

    ref, files = Path(args.ref), [Path(one) / "text" if Path(one).is_dir() else Path(one) for one in args.hyp]
    speakers = ref / "utt2spk" if ref.is_dir() else ref.with_name("utt2spk")
    references = read_table(ref / "text" if ref.is_dir() else ref, empty_ok=True)
    hypotheses = _joined([read_table(file, empty_ok=True) for file in files], files)
    normaliser = _normaliser(args.normalise, files[0])
    scored = score(references, hypotheses, read_table(speakers) if speakers.is_file() else {}, normaliser)
    result = {"kind": KIND, "arm": args.arm or Path(args.out).name, "fraction": args.fraction, **summarise(scored, args.bootstrap)}
    result["settings"] = {
        "reference": args.ref,
        "hypothesis": " ".join(args.hyp),
        "lm": _language_model(files[0].parent / "decode.json"),
        "normaliser": asdict(normaliser),
        "bootstrap": args.bootstrap,
        "missing": len(references.keys() - hypotheses.keys()),
        "unused": len(hypotheses.keys() - references.keys()),
    }
    write_asr_score(result, scored, Path(args.out))
    print(f"{asr_page(result)}\n{args.out}/metrics.json, table.md, per_utt and wer are written.")
    return 0


def _joined(tables: list[dict[str, str]], files: list[Path]) -> dict[str, str]:
    """One table of several, which may not have an utterance in common."""
    made: dict[str, str] = {}
    for table, file in zip(tables, files, strict=True):
        if twice := sorted(made.keys() & table.keys()):
            raise UserError(f"{file}: utterance {twice[0]!r} is in another hypothesis too; folds test each utterance once.")
        made |= table
    return made


def _language_model(decode: Path) -> str:
    """The language model that a decoding used, "" where there was none or nothing says."""
    from sigssl.data.io import read_json

    return str(read_json(decode)["settings"].get("lm", "")) if decode.is_file() else ""


def _normaliser(choice: str, hyp: Path) -> Normaliser:
    from sigssl.asr.store import TOKENS
    from sigssl.asr.tokens import PLAIN, Tokens

    beside = hyp.parent / TOKENS
    if choice == "none" or (choice == "auto" and not beside.is_file()):
        return PLAIN
    return Tokens.load(beside if choice == "auto" else choice).normaliser
