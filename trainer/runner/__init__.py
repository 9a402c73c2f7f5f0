"""How does one attempt at a run go? The driver of its Ray job."""
