"""Who takes, queues and looks after runs? The one process that clients call."""
