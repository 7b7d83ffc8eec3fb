"""Waveform to frames, as torch modules: batched, lengths in and out, on any device."""

from sigssl.features.bandpower import BandPower
from sigssl.features.base import Extractor
from sigssl.features.cmvn import GlobalCMVN, normalise
from sigssl.features.deltas import Deltas
from sigssl.features.kaldi import MFCC, KaldiFbank
from sigssl.features.logmel import LogMel

__all__ = ["MFCC", "BandPower", "Deltas", "Extractor", "GlobalCMVN", "KaldiFbank", "LogMel", "normalise"]
