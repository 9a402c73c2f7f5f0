"""The errors of what cannot be done to a run."""

from __future__ import annotations


class RunError(Exception):
    """Base of the errors about one run."""

    def __init__(self, run_id: str, message: str) -> None:
        super().__init__(message)
        self.run_id = run_id


class RunNotFoundError(RunError):
    """No run has this id."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id, f"there is no run {run_id[:80]!r}; `sumgrad list` shows all")


class RunEndedError(RunError):
    """The run has ended, so it can no longer be changed."""


class NotPausedError(RunError):
    """Only a paused run can be resumed."""


class WorkersError(RunError):
    """A run cannot have this many workers."""


class RunElsewhereError(RunError):
    """Another service on the run store looks after the run."""


class RunFilesError(RunError):
    """A run's folder cannot be created or deleted."""


class NotTheRunnerError(RunError):
    """The caller is not the runner of the run's current attempt."""

    def __init__(self, run_id: str, attempt: int) -> None:
        super().__init__(run_id, f"not the runner of attempt {attempt} of run {run_id[:80]!r}")


class QueueFullError(Exception):
    """A user has as many runs waiting as one may have."""

    def __init__(self, owner: str, most: int) -> None:
        super().__init__(
            f"{owner or 'this service'} has {most} runs that are queued or paused, and no more may "
            "wait; submit again when some have been started, or cancel some"
        )


class CursorExpiredError(RunError):
    """The run's events cannot be sent from this cursor on."""

    def __init__(self, run_id: str, after: int, last: int) -> None:
        super().__init__(
            run_id,
            f"cursor expired: run {run_id} has no event {after}, its last is {last}; "
            "watch it from its snapshot on, without after_sequence",
        )
        self.after_sequence = last


class ServiceStoppingError(RunError):
    """The service is stopping; the stream can go on from the cursor at the next service."""

    def __init__(self, run_id: str, after: int) -> None:
        super().__init__(
            run_id,
            f"the service is stopping; ask again for what follows {after} of run {run_id}",
        )
        self.after_sequence = after
