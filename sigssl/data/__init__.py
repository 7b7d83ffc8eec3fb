"""From recordings to batches: data directories, audio, the feature store, splits, datasets, batching."""
