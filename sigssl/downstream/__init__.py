"""What is done with an encoder: probes, recognition, staging, and their metrics."""
