"""Speech recognition from log-probabilities: tokens, CTC decoding, language models, alignment, scores."""
