"""``python -m benchmarks.faults``."""

from benchmarks.faults.measure import main

main()
