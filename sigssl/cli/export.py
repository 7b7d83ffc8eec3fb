"""`sigssl export`: write a run's encoder for use elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from sigssl.cli.common import make_parser, parse

EXAMPLE = "sigssl export exp/tera exp/tera_best --checkpoint best"


def main(argv: Sequence[str]) -> int:
    """Run the verb."""
    verb = make_parser(
        "export", "Write the encoder of a run's checkpoint as model.safetensors + config.yaml, which sigssl.load reads.", EXAMPLE
    )
    verb.add_argument("run", type=str, help="run folder of sigssl pretrain")
    verb.add_argument("out", type=str, help="folder to write; for s3prl, the file")
    verb.add_argument("--format", type=Literal["sigssl", "s3prl"], default="sigssl", help="whose loader is to read it")
    verb.add_argument("--checkpoint", type=str, default="last", help="last, best, or a checkpoint file")
    verb.add_argument("--trust", type=list[str], default=["sigssl"], help="packages whose classes the run's config may name")
    config = parse(verb, argv)
    from sigssl.training.run import export_encoder

    trust = tuple(config.trust)
    written = export_encoder(Path(config.run), Path(config.out), config.checkpoint, trust)
    print(f"{written}: the encoder of checkpoint {config.checkpoint}; read it with sigssl.load({str(written)!r})")
    return 0
