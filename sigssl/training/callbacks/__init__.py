"""What happens around the steps: records, progress, validation, checkpoints, collapse meters, and the guard against bad data."""
