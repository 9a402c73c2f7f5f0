"""Which run is next? The decisions about waiting and running runs, without I/O or a clock of their
own."""
