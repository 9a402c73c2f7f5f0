"""What does a run give? Logs, weights, predictions, curves."""
