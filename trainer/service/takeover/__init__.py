"""Whose runs are these? The locks by which services see each other live, and what becomes of the
runs of one that has ended."""
