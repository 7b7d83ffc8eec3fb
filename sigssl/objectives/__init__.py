"""Losses, one per file."""

from sigssl.objectives.reconstruction import label_weight, masked_l1, masked_mse

__all__ = ["label_weight", "masked_l1", "masked_mse"]
