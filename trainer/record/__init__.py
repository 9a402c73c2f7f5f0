"""What is known of a run? Its states, history, events, log and receipt."""
