"""Waveform to frames, as torch modules: batched, lengths in and out, on any device."""
