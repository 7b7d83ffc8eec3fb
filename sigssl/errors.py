"""Errors that are the user's to mend: they say what, where, what was expected and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input. The command line prints its text without a traceback and exits with code 2."""


class MissingExtraError(UserError, ImportError):
    """An optional library is absent or broken; the text names the extra that brings it."""


def nearest(word: str, known: Iterable[str], n: int = 3) -> str:
    """Say which known words are close to `word`.

    Args:
        word: what the user wrote.
        known: what would have been accepted.
        n: how many words to name at the most.

    Returns:
        `" Did you mean 'a' or 'b'?"`, or an empty string where nothing is near.
    """
    close = difflib.get_close_matches(word, list(known), n=n, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
