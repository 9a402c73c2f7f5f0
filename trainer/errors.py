"""Errors that whoever called can mend."""

from __future__ import annotations


class UsageError(ValueError):
    """Something that was asked for cannot be; the message says what, and what to do."""
