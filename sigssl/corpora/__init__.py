"""One file per data set: find it or fetch it, and write it as a data directory."""
