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
        "Write the encoder of a run's checkpoint as model.safetensors + config.yaml, which sigssl.load reads, or as a file that "
        "s3prl reads; and turn a checkpoint of s3prl into such a folder.",
        EXAMPLE,
    )
    verb.add_argument(
        "run", type=str, help="run folder of sigssl pretrain, or a checkpoint file of s3prl's tera, mockingjay, audio_albert"
    )
    verb.add_argument("out", type=str, help="folder to write; for s3prl, the file")
    verb.add_argument("--format", type=Literal["sigssl", "s3prl"], default="sigssl", help="whose loader is to read it")
    verb.add_argument("--checkpoint", type=str, default="last", help="of a run: last, best, or a checkpoint file")
    verb.add_argument("--trust", type=list[str], default=["sigssl"], help="packages whose classes the run's config may name")
    config = parse(verb, argv)
    run, out, trust = Path(config.run), Path(config.out), tuple(config.trust)
    written = (
        for_s3prl(run, out, config.checkpoint, trust)
        if config.format == "s3prl"
        else for_sigssl(run, out, config.checkpoint, trust)
    )
    how = (
        f'S3PRLUpstream("tera_local", path_or_url={str(written)!r})'
        if config.format == "s3prl"
        else f"sigssl.load({str(written)!r})"
    )
    print(f"{written}: the encoder of {run}; read it with {how}")
    return 0


def for_sigssl(run: Path, out: Path, checkpoint: str, trust: tuple[str, ...]) -> Path:
    """Write the folder of safetensors and configuration."""
    from sigssl.methods.s3prl_layout import import_s3prl
    from sigssl.training.checkpoint import save_encoder
    from sigssl.training.run import export_encoder

    if run.is_file():
        return save_encoder(out, import_s3prl(run).encoder, {"source": f"s3prl checkpoint {run.name}"})
    return export_encoder(run, out, checkpoint, trust)


def for_s3prl(run: Path, out: Path, checkpoint: str, trust: tuple[str, ...]) -> Path:
    """Write s3prl's file."""
    from sigssl.methods import TERA
    from sigssl.methods.s3prl_layout import export_s3prl
    from sigssl.training.run import load_method

    method = load_method(run, checkpoint, trust)
    if not isinstance(method, TERA):
        raise UserError(f"{run}: holds {type(method).__name__}; s3prl's file format knows TERA, Mockingjay and AudioALBERT only.")
    return export_s3prl(method, out)
