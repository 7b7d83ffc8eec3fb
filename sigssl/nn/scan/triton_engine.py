"""The Triton engine's place: nothing is built yet."""

from __future__ import annotations


def missing() -> str:
    """Why the engine cannot run."""
    return "not built"
