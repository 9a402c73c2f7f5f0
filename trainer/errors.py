"""Errors that say what is wrong and what to do, by who can mend it."""

from __future__ import annotations


class UsageError(ValueError):
    """What was asked for cannot be done; the message says why, and what to change."""


class UnavailableError(RuntimeError):
    """Another program that is needed cannot be started or reached; the message says which."""
