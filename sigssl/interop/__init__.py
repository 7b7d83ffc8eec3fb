"""Bridges to other toolkits: s3prl, transformers, lhotse, Kaldi."""
