"""The selective scan and its engines: mamba_ssm's CUDA kernel, Triton, C++, pure torch, and a reference loop."""

from sigssl.nn.scan.conv import conv_silu
from sigssl.nn.scan.dispatch import choose_engine, engines, selective_scan

__all__ = ["choose_engine", "conv_silu", "engines", "selective_scan"]
