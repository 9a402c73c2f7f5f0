"""What does a service make of 100,000 hostile requests? ``python -m benchmarks.hostile``."""
