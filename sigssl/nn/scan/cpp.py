"""The C++ engine's place: nothing is built yet."""

from __future__ import annotations


def missing() -> str:
    """Why the engine cannot run."""
    return "not built"


def detail() -> str:
    """What runs."""
    return ""
