"""Who computes which shards, and what does an answer, a loss or a silence mean?"""
