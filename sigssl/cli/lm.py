"""`sigssl lm`: an n-gram language model from text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sigssl.cli.common import make_parser, parse

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def main(argv: Sequence[str]) -> int:
    """Run the verb; exit code 0."""
    args = parse(_parser(), argv)
    from sigssl.asr.ngram_build import build
    from sigssl.asr.tokens import PLAIN, Normaliser, Tokens

    normaliser = Tokens.load(args.tokens).normaliser if args.tokens else PLAIN if args.plain else Normaliser()
    sentences = [words for line in _lines(Path(args.text), ids=args.ids) if (words := normaliser(line).split())]
    more = [word for line in _lines(Path(args.words), ids=False) for word in normaliser(line).split()] if args.words else []
    model = build(sentences, args.order, args.smoothing, more)
    model.write(args.out)
    print(
        f"{args.out}: {len(sentences)} sentences, {sum(map(len, sentences))} words, {len(model.words())} different, "
        f"{len(model.prob)} n-grams up to order {model.order}, {args.smoothing}; text as {normaliser}"
    )
    return 0


def _lines(path: Path, *, ids: bool) -> Iterator[str]:
    """Sentences: of a data directory its transcripts, else the lines of a file, without the first word where that is an id."""
    from sigssl.data.io import read_lines

    file = path / "text" if path.is_dir() else path
    for line in read_lines(file):
        yield line.value if ids or path.is_dir() else f"{line.key} {line.value}"


def _parser() -> ArgumentParser:
    parser = make_parser(
        "lm",
        "Build an n-gram language model of words and write it in ARPA's format, which sigssl decode, KenLM and Kaldi read.",
        "sigssl lm --order 3 data/train exp/lm.arpa",
    )
    add = parser.add_argument
    add("text", type=str, help="data directory (its transcripts), or file with a sentence on each line")
    add("out", type=str, help="ARPA file to write, gzipped where its name ends in .gz")
    add("--order", type=int, default=3, help="longest n-gram")
    add(
        "--smoothing",
        type=Literal["kneser-ney", "witten-bell"],
        default="kneser-ney",
        help="interpolated modified Kneser-Ney, or Witten-Bell, which suits few sentences",
    )
    add("--ids", action="store_true", help="the file is Kaldi's text: drop the first word of each line")
    add("--tokens", type=str, default="", help="tokens.json whose text normalisation is used")
    add("--plain", action="store_true", help="take the text as it stands (default: lower case, no punctuation but the apostrophe)")
    add("--words", type=str, default="", help="file of further words to know")
    return parser
