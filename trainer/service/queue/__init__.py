"""Who is next? Decisions about waiting and running runs, without I/O."""
