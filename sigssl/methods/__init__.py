"""One file = one published method: views + encoder + objective."""

from sigssl.methods.base import Method
from sigssl.methods.encoder import FrameEncoder
from sigssl.methods.tera import TERA

__all__ = ["TERA", "FrameEncoder", "Method"]
