"""Building blocks of encoders."""

from sigssl.nn.mamba import Mamba, MambaState
from sigssl.nn.mamba_encoder import BiMamba, MambaBlock, MambaEncoder
from sigssl.nn.position import SinusoidalPositions, sinusoids
from sigssl.nn.recurrent import FeedForwardBlock, RecurrentBlock
from sigssl.nn.scan import selective_scan
from sigssl.nn.transformer import ReconstructionHead, TransformerEncoder

__all__ = [
    "BiMamba",
    "FeedForwardBlock",
    "Mamba",
    "MambaBlock",
    "MambaEncoder",
    "MambaState",
    "ReconstructionHead",
    "RecurrentBlock",
    "SinusoidalPositions",
    "TransformerEncoder",
    "selective_scan",
    "sinusoids",
]
