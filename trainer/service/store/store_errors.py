"""Errors of the run store as a whole."""

from sumgrad.trainer.errors import UsageError


class StoreError(UsageError):
    """The database cannot be opened or used."""


class StoreUnavailableError(StoreError):
    """The database does not answer, or cannot work, at the moment."""
