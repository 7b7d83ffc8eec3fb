"""Losses, one per file."""

from sigssl.objectives.dcl import dcl
from sigssl.objectives.nt_xent import nt_xent
from sigssl.objectives.pairs import Pairs, pairs
from sigssl.objectives.reconstruction import label_weight, masked_l1, masked_mse

__all__ = ["Pairs", "dcl", "label_weight", "masked_l1", "masked_mse", "nt_xent", "pairs"]
