"""Altered, masked and augmented views of a batch, vectorised, on the device."""

from sigssl.views.alter import Alter, Altered

__all__ = ["Alter", "Altered"]
