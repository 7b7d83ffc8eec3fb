"""Building blocks of encoders."""

from sigssl.nn.mamba import Mamba, MambaState
from sigssl.nn.position import SinusoidalPositions, sinusoids
from sigssl.nn.scan import selective_scan
from sigssl.nn.transformer import ReconstructionHead, TransformerEncoder

__all__ = ["Mamba", "MambaState", "ReconstructionHead", "SinusoidalPositions", "TransformerEncoder", "selective_scan", "sinusoids"]
