"""Which commands does the command line have? One verb a file."""
