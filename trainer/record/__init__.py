"""What is known of a run? Its states, events, history, log, receipt and verification."""
