"""The command line, ``sumgrad``."""
