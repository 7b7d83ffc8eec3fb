"""Building blocks of encoders."""

from sigssl.nn.position import SinusoidalPositions, sinusoids
from sigssl.nn.transformer import ReconstructionHead, TransformerEncoder

__all__ = ["ReconstructionHead", "SinusoidalPositions", "TransformerEncoder", "sinusoids"]
