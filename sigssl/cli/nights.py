"""`sigssl features` where the config asks for the signals of nights."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sigssl.cli.common import parse
from sigssl.cli.extraction import running, tell
from sigssl.errors import UserError
from sigssl.extract.parallel import start_early

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from sigssl.extract.nights import NightSignal

SPEECH_ONLY = {"cmvn": "config", "cmvn_from": None, "compress": False, "channel": 0, "rate": "resample"}


def store(args: Namespace, overrides: Sequence[str]) -> int:
    """Do it; 1 where nights were set aside."""
    for name, default in SPEECH_ONLY.items():
        if getattr(args, name) != default:
            raise UserError(f"--{name.replace('_', '-')} is for features of sound; {args.config} asks for the signals of nights.")
    how = running(args, "nights", args.source)
    if how.nj > 1 and not how.dask:
        start_early("sigssl.extract.nights")
    from sigssl.data.psg import SUFFIXES
    from sigssl.extract.nights import store_nights, without_hypnograms
    from sigssl.extract.sources import find_utterances

    what = _settings(args.config, overrides)
    nights = find_utterances(args.source, allow_commands=args.allow_commands, suffixes=SUFFIXES)
    if not (Path(args.source) / "wav.scp").is_file():
        nights, hypnograms = without_hypnograms(nights)
        if hypnograms:
            print(f"{hypnograms} files hold annotations only and are left out")
    summary = store_nights(nights, what, args.out, running=how)
    _tell_gaps(args)
    return tell(summary)


def _settings(config: str, overrides: Sequence[str]) -> NightSignal:
    """The `signal` section of a YAML file, checked against the settings there are."""
    from jsonargparse import ArgumentParser

    from sigssl.extract.nights import NightSignal

    parser = ArgumentParser(prog=config, exit_on_error=False, default_env=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(NightSignal, "signal")
    parsed = parse(parser, ["--config", config, *(f"--{word.lstrip('-')}" for word in overrides)])
    return NightSignal(**{**parsed.signal.as_dict(), "channels": tuple(parsed.signal.channels)})


def _tell_gaps(args: Namespace) -> None:
    """Copy the data directory where asked, with the epochs unscored that touch a gap; say how many there are."""
    from sigssl.data.datadir import DataDir
    from sigssl.extract.finish import copy_data_dir
    from sigssl.extract.nights import masked_stages

    if not (Path(args.source) / "wav.scp").is_file():
        return
    if args.data_out:
        copy_data_dir(Path(args.source), Path(args.data_out), Path(args.out))
    data = DataDir.read(args.data_out or args.source, allow_commands=True)
    stages, changed = masked_stages(data, args.out)
    if changed and args.data_out:
        data.stages = stages
        data.write()
        print(f"{changed} scored epochs touch a gap of their recording: unscored (?) in {args.data_out}")
    elif changed:
        print(
            f"{changed} scored epochs touch a gap of their recording, where the signal is zero; --data-out DIR writes a data "
            f"directory in which they are unscored.",
            file=sys.stderr,
        )
