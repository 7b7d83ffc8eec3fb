"""Altered, masked and augmented views of a batch, vectorised, on the device."""
