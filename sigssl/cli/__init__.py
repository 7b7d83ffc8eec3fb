"""The command line: one file per verb, and the only place that parses arguments and prints."""
