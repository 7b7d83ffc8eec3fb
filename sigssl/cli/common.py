"""What the verbs share: a parser that shows defaults and an example, `key=value` overrides, errors that name the nearest key."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Sequence

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from sigssl.errors import UserError, nearest

OVERRIDE = re.compile(r"[A-Za-z_][\w]*(\.[A-Za-z_]\w*)*=")


def make_parser(verb: str, what: str, example: str) -> ArgumentParser:
    """A verb's parser.

    Args:
        verb: its name.
        what: what it does, one or a few sentences.
        example: one complete command line, shown at the end of `--help`.
    """
    return ArgumentParser(
        prog=f"sigssl {verb}",
        description=what,
        epilog=f"example: {example}",
        exit_on_error=False,
        allow_abbrev=False,
        default_env=False,
    )


def parse(parser: ArgumentParser, argv: Sequence[str]) -> Namespace:
    """Parse a verb's words; `optim.lr=1e-3` means `--optim.lr=1e-3`.

    Raises:
        UserError: an unknown option or key (the nearest known one is named), or a value of the wrong type.
    """
    words = [f"--{w}" if OVERRIDE.match(w) else w for w in argv]
    try:
        return parser.parse_args(words)
    except (ArgumentError, TypeError, ValueError) as error:
        raise UserError(explain(parser, str(error))) from None


def instantiate(parser: ArgumentParser, config: Namespace) -> Namespace:
    """The parsed settings with every `class_path` constructed.

    Raises:
        UserError: a constructor refuses its arguments.
    """
    make = getattr(parser, "instantiate", None) or parser.instantiate_classes  # the name before jsonargparse 4.49
    made: Namespace = make(config)
    return made


def explain(parser: ArgumentParser, message: str) -> str:
    """The parser's message, with the nearest known option where an unknown one was given."""
    options = [o for action in parser._actions for o in action.option_strings]
    unknown = re.search(r"[Uu]nrecognized arguments?: (\S+)|does not accept (?:nested )?(?:key|option) '([^']+)'", message)
    if unknown:
        word = (unknown.group(1) or unknown.group(2)).split("=")[0]
        keys = [o.lstrip("-") for o in options]
        hint = nearest(word.lstrip("-"), keys) or nearest(word.lstrip("-").split(".")[-1], [k.split(".")[-1] for k in keys])
        message += hint
    inside = re.search(r"class_path '([^']+)'.*[Oo]ption '([^']+)' is not accepted", message, re.DOTALL)
    if inside:
        module, _, name = inside.group(1).rpartition(".")
        known = inspect.signature(getattr(importlib.import_module(module), name)).parameters
        message = message.rstrip() + nearest(inside.group(2), known)
    return message
