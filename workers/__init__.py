"""What does one worker do? It reads data, samples shards and computes their summed gradients."""
