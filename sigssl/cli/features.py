"""`sigssl features`: features or signals of a data directory into Kaldi ark and scp."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sigssl.cli.common import OVERRIDE, make_parser, parse
from sigssl.cli.extraction import add_options, running, tell
from sigssl.data.datadir import is_data_dir
from sigssl.errors import UserError
from sigssl.extract.parallel import start_early

SECTIONS = ("features.", "signal.")

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from sigssl.features import Extractor


def main(argv: Sequence[str]) -> int:
    """Run the verb; 1 where recordings were set aside."""
    overrides = [word for word in argv if word.lstrip("-").startswith(SECTIONS) and OVERRIDE.match(word.lstrip("-"))]
    args = parse(_parser(), [word for word in argv if word not in overrides])
    if args.data_out and not is_data_dir(args.source):
        raise UserError(f"--data-out copies a data directory, and {args.source} is none.")
    if _section(args.config) == "signal":
        from sigssl.cli.nights import store

        return store(args, overrides)
    how = running(args, "features", args.source)
    if how.nj > 1 and not how.dask:
        start_early("sigssl.extract.features")
    from sigssl.extract.features import extract_features
    from sigssl.extract.finish import copy_data_dir
    from sigssl.extract.reading import Reading
    from sigssl.extract.sources import find_utterances

    extractor = _extractor(args.config, overrides)
    summary = extract_features(
        find_utterances(args.source, allow_commands=args.allow_commands),
        extractor,
        args.out,
        cmvn_over=args.cmvn,
        cmvn_from=args.cmvn_from,
        compress=args.compress,
        reading=Reading(extractor.sample_rate, args.channel, resample=args.rate == "resample"),
        running=how,
    )
    if args.data_out:
        copy_data_dir(Path(args.source), Path(args.data_out), Path(args.out))
    return tell(summary)


def _section(config: str) -> str:
    """Whether a YAML file asks for a `signal` (of nights) or for `features`."""
    import yaml

    if not Path(config).is_file():
        raise UserError(
            f"--config {config}: no such file; expected a YAML with features: {{class_path, init_args}} or signal: {{...}}."
        )
    try:
        found = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--config {config}: not YAML: {error}") from None
    return "signal" if isinstance(found, dict) and "signal" in found else "features"


def _parser() -> ArgumentParser:
    parser = make_parser(
        "features",
        "Compute features into Kaldi ark and scp, or store the signals of nights there (a config with `signal:`). A run "
        "that was interrupted or killed goes on where it was when the same command "
        "is given again; recordings that cannot be read are set aside in OUT/quarantine.tsv (exit code 1). features.KEY=VALUE "
        "or signal.KEY=VALUE sets a setting of the config, as in features.n_mels=40.",
        "sigssl features --config recipes/conf/features/logmel.yaml data/train exp/feats --nj 8",
    )
    add = parser.add_argument
    add(
        "source",
        type=str,
        help="data directory (with wav.scp), shar:DIR (lhotse Shar), folder of recordings, recording, or list of files",
    )
    add(
        "out",
        type=str,
        help="output folder: feats.scp, feats.N.ark, feats.json, utt2num_frames, quarantine.tsv; of nights also picks.tsv",
    )
    add(
        "--config", type=str, required=True, help="YAML with features: {class_path, init_args}, or signal: {montage, channels, ...}"
    )
    add(
        "--cmvn",
        type=Literal["config", "utterance", "speaker", "global", "none"],
        default="config",
        help="normalise mean and variance over this; config: as the feature does it; global also leaves OUT/cmvn.yaml, which an "
        "encoder's features take: sigssl pretrain ... method.init_args.encoder.init_args.features.init_args.cmvn=OUT/cmvn.yaml",
    )
    add("--cmvn-from", type=str | None, default=None, help="take the statistics for speaker or global from this folder of features")
    add("--compress", action="store_true", help="Kaldi's 8-bit form: a quarter of the size, lossy")
    add("--data-out", type=str | None, default=None, help="also copy the data directory to here, with feats.scp and utt2num_frames")
    add_options(parser)
    return parser


def _extractor(config: str, overrides: Sequence[str]) -> Extractor:
    """Build the feature that a YAML file names, checked against its class's type hints."""
    from jsonargparse import ArgumentParser

    from sigssl.config import build
    from sigssl.extract.features import packages
    from sigssl.features import Extractor

    parser = ArgumentParser(prog=config, exit_on_error=False, default_env=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--features", type=Extractor, required=True)
    words = [f"--{word.lstrip('-')}" for word in overrides]
    described = parse(parser, ["--config", config, *words]).features.as_dict()
    return build(described, where=config, trust=packages(described))
