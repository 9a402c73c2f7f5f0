"""How does a run reach Ray? Launching, looking after and ending its jobs."""
