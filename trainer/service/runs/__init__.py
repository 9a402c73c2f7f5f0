"""What happens to a run? Submission, transitions, reports of its runner, watching."""
