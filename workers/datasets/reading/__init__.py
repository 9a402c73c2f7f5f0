"""How is a file read that nobody vouches for? With bounds, and never a pickle."""
