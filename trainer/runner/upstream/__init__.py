"""To whom does the runner report? To a service, or to the terminal of a job by hand."""
