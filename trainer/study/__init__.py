"""What would a network be like, and is its gradient right? Looked at before any training."""
