"""What can the command line do? One verb a file."""
