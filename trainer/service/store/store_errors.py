"""Errors of the run store as a whole."""


class StoreError(RuntimeError):
    """The database cannot be opened or used."""


class StoreUnavailableError(StoreError):
    """The database does not answer, or cannot work, at the moment."""
