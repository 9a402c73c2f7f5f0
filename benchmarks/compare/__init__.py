"""How fast is sumgrad beside PyTorch? ``python -m benchmarks.compare``, or ``make bench``."""
