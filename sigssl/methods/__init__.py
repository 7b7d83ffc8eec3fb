"""One file = one published method: views + encoder + objective."""

from sigssl.methods.base import Method

__all__ = ["Method"]
