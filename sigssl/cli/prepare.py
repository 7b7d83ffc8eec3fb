"""`sigssl prepare`: find or fetch a corpus and write it as data directories."""

from __future__ import annotations

import importlib
import inspect
import logging
import pkgutil
import shlex
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import ModuleType

from sigssl import corpora
from sigssl.cli.common import make_parser, parse
from sigssl.data.datadir import DataDir
from sigssl.errors import UserError, nearest

WHAT = "Find or fetch a corpus and write each of its parts as a data directory OUT/PART."


def catalogue() -> dict[str, ModuleType]:
    """Every corpus by name: the modules of sigssl.corpora that say `ABOUT` themselves."""
    modules = (importlib.import_module(f"{corpora.__name__}.{m.name}") for m in pkgutil.iter_modules(corpora.__path__))
    return {m.__name__.rsplit(".", 1)[-1]: m for m in modules if hasattr(m, "ABOUT") and hasattr(m, "prepare")}


def listing(known: dict[str, ModuleType]) -> str:
    """The table of `sigssl prepare --list`."""
    rows = [
        ("name", "what", "licence", "size"),
        *((name, m.ABOUT.what, m.ABOUT.licence, m.ABOUT.size) for name, m in known.items()),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def usage(known: dict[str, ModuleType]) -> str:
    """The text of `sigssl prepare --help`."""
    width = max(map(len, known))
    lines = "\n".join(f"  {name:<{width}}  {m.ABOUT.what}" for name, m in known.items())
    return (
        f"usage: sigssl prepare NAME [--root DIR] OUT [options]\n       sigssl prepare --list\n\n{WHAT}\n\ncorpora:\n{lines}\n\n"
        "'sigssl prepare NAME --help' shows a corpus's options with defaults and types; --list shows licences and sizes.\n"
        "The small sets are looked for in $SIGSSL_DATA, by default ../shared/data, when --root is not given.\n"
        "example: sigssl prepare synthetic data/synthetic --hours 0.5"
    )


def main(argv: Sequence[str]) -> int:
    """Run the verb.

    Returns:
        0, or 1 where some recordings could not be read and were set aside.

    Raises:
        UserError: an unknown corpus or option, or whatever the corpus finds wrong.
    """
    words, known = list(argv), catalogue()
    if not words or words[0] in ("-h", "--help"):
        print(usage(known))
        raise SystemExit(0)
    if words == ["--list"]:
        print(listing(known))
        return 0
    at = next((n for n, word in enumerate(words) if word in known), None)
    if at is None:
        named = next((word for word in words if not word.startswith("-")), words[0])
        raise UserError(f"no corpus {named!r}.{nearest(named, known)} 'sigssl prepare --list' names them all.")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    name = words.pop(at)
    module = known[name]
    parser = make_parser(
        f"prepare {name}", f"{module.ABOUT.what} ({module.ABOUT.licence}; {module.ABOUT.size}). {WHAT}", module.ABOUT.example
    )
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_function_arguments(module.prepare, as_group=False, skip={"out"}, fail_untyped=True)
    parameters = inspect.signature(module.prepare, eval_str=True).parameters
    flags = {name for name, parameter in parameters.items() if parameter.annotation is bool}
    options = parse(parser, list(spelled(words, flags))).as_dict()
    return report(module.prepare(**{key: options[key] for key in parameters}))


def spelled(words: Sequence[str], flags: Collection[str]) -> Iterator[str]:
    """The words with `--audio-root` as `--audio_root`, and with a lone `--download` as `--download=true`."""
    for word, after in zip(words, [*words[1:], ""], strict=True):
        key, equals, value = word.partition("=")
        if not key.startswith("--"):
            yield word
            continue
        key = key.replace("-", "_").replace("__", "--", 1)
        lone = key[2:] in flags and not equals and after not in ("true", "false")
        yield f"{key}=true" if lone else f"{key}{equals}{value}"


def report(made: dict[str, DataDir]) -> int:
    """Print what was written, and which files were set aside (exit code 1)."""
    aside = 0
    for directory in made.values():
        hours = sum(directory.utt2dur.values()) / 3600
        speakers = len(set(directory.utt2spk.values()))
        print(f"{directory.path}: {len(directory)} utterances, {speakers} speakers, {hours:.2f} h")
        quarantine = directory.path / "quarantine.tsv"
        if quarantine.exists():
            aside += len(quarantine.read_text(encoding="utf-8").splitlines())
            print(f"{directory.path}: some recordings are set aside, see: cat {shlex.quote(str(quarantine))}", file=sys.stderr)
    return 1 if aside else 0
