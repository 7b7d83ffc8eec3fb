"""One file = one published method: views + encoder + objective."""

from sigssl.methods.base import Method
from sigssl.methods.encoder import FrameEncoder
from sigssl.methods.neuronet import NeuroNet
from sigssl.methods.neuronet_encoder import NeuroNetEncoder
from sigssl.methods.tera import TERA

__all__ = ["TERA", "FrameEncoder", "Method", "NeuroNet", "NeuroNetEncoder"]
