"""Snapshots of a training run, from which it can go on exactly (DESIGN sections 1 and 6)."""
