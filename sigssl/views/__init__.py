"""Altered, masked and augmented views of a batch, vectorised, on the device."""

from sigssl.views.alter import Alter, Altered
from sigssl.views.span_mask import SpanMask
from sigssl.views.token_mask import TokenMask, Views

__all__ = ["Alter", "Altered", "SpanMask", "TokenMask", "Views"]
