"""What happens to a run? Its submission, the calls of its runner, every decision about its state,
its deletion, and the streams of its events."""
