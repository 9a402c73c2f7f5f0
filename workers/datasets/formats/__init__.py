"""Which data can a run read? One format a file; the table is in ``sumgrad.workers.datasets``."""
