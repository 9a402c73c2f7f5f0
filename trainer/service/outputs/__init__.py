"""What does a run give? Logs, curves, weights and predictions."""
