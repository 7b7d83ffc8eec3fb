"""Altered, masked and augmented views of a batch, vectorised, on the device."""

from sigssl.views.alter import Alter, Altered
from sigssl.views.token_mask import TokenMask, Views

__all__ = ["Alter", "Altered", "TokenMask", "Views"]
