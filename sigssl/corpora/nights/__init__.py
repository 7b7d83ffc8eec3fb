"""Synthetic nights: how stages follow one another, what the signals look like in each, and files laid out as Sleep-EDF's."""
