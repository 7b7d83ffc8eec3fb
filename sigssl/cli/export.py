"""`sigssl export`: write an encoder for use elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from sigssl.cli.common import make_parser, parse
from sigssl.errors import UserError

EXAMPLE = "sigssl export exp/tera tera.ckpt --format s3prl"


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    verb = make_parser(
        "export",
        "Write the encoder of a run's checkpoint as model.safetensors + config.yaml + README.md (a model card), which sigssl.load "
        "reads, or as a file that s3prl reads; and turn a model of transformers or a checkpoint of s3prl into such a folder.",
        EXAMPLE,
    )
    add = verb.add_argument
    add(
        "run",
        type=str,
        help="run folder of sigssl pretrain, a folder of transformers, hf:ORG/NAME, or a checkpoint file of s3prl's TERA",
    )
    add("out", type=str, help="folder to write; for s3prl, the file")
    add("--format", type=Literal["sigssl", "s3prl"], default="sigssl", help="whose loader is to read it")
    add("--checkpoint", type=str, default="last", help="of a run: last, best, or a checkpoint file")
    add("--licence", type=str | None, default=None, help="of the weights, for the model card: an SPDX id such as cc-by-4.0")
    add("--card", type=str | None, default=None, help="Markdown file that becomes the model card in place of the one made here")
    add("--trust", type=list[str], default=["sigssl"], help="packages whose classes the run's config may name")
    config = parse(verb, argv)
    out, trust = Path(config.out), tuple(config.trust)
    if config.format == "s3prl":
        written, how = for_s3prl(Path(config.run), out, config.checkpoint, trust), 'S3PRLUpstream("tera_local", path_or_url={!r})'
    else:
        written, how = for_sigssl(config.run, out, config.checkpoint, trust, config.licence, config.card), "sigssl.load({!r})"
    print(f"{written}: the encoder of {config.run}; read it with {how.format(str(written))}")
    return 0


def for_sigssl(run: str, out: Path, checkpoint: str, trust: tuple[str, ...], licence: str | None, card: str | None) -> Path:
    """Write the folder of safetensors, configuration and card."""
    from sigssl.training.checkpoint import save_encoder
    from sigssl.training.foreign import foreign
    from sigssl.training.run import export_encoder

    said = {"licence": licence} if licence else {}
    text = read_text(Path(card)) if card else ""
    other = foreign(run)
    if other is None:
        return export_encoder(Path(run), out, checkpoint, trust, said, text)
    if run.startswith("s3prl:"):
        raise UserError(
            f"{run}: an upstream of s3prl is made of s3prl's own code and file; use it by this name, there is nothing to export."
        )
    meta = {key: value for key, value in other.meta().items() if key != "weights_sha256"}
    return save_encoder(out, other.load(), meta | said, text)  # type: ignore[arg-type]


def read_text(file: Path) -> str:
    """A text file; UserError where there is none."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error}).") from None


def for_s3prl(run: Path, out: Path, checkpoint: str, trust: tuple[str, ...]) -> Path:
    """Write s3prl's file."""
    from sigssl.methods import TERA
    from sigssl.methods.s3prl_layout import export_s3prl
    from sigssl.training.run import load_method

    method = load_method(run, checkpoint, trust)
    if not isinstance(method, TERA):
        raise UserError(f"{run}: holds {type(method).__name__}; s3prl's file format knows TERA, Mockingjay and AudioALBERT only.")
    return export_s3prl(method, out)
