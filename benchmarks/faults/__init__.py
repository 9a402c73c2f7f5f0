"""What do faults cost? ``python -m benchmarks.faults``, or ``make faults``."""
