"""Whose runs are these? Locks, instances, and what an ended service left."""
