"""Checks of hyper-parameters, made when a layer, a loss or an update rule is created.

These are frozen dataclasses. Each checks its fields in ``__post_init__``. One exception carries
every mistake of one object, so a specification reports all of them at once, by field names.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

Requirement = Callable[[Any], str | None]

Pair = int | tuple[int, int]
"""One number for both axes of an image, or (vertical, horizontal)."""


class InvalidHyperparameterError(ValueError):
    """One or more fields are out of range.

    Attributes:
        problems: (field, what is wrong) pairs, for example ``("units", "must be ≥ 1, got 0")``.
    """

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{field}: {problem}" for field, problem in problems))
        self.problems = problems


class ShapeError(ValueError):
    """An input does not fit a layer or a loss; the message says what would."""


def require(block: object, **requirements: Requirement) -> None:
    """Check fields of ``block``; raise InvalidHyperparameterError that names each bad one."""
    found = [(field, check(getattr(block, field))) for field, check in requirements.items()]
    problems = [(field, problem) for field, problem in found if problem is not None]
    if problems:
        raise InvalidHyperparameterError(problems)


LARGEST_COUNT = 2**31 - 1

MIN_NORMAL = 1.2e-38
"""A smaller number loses digits in float32, and may become 0."""


def at_least(bound: int) -> Requirement:
    """A count of ``bound`` or more, that fits 32 bits."""

    def check(value: int) -> str | None:
        if value < bound:
            return f"must be ≥ {bound}, got {value}"
        return None if value <= LARGEST_COUNT else f"must be ≤ {LARGEST_COUNT}, got {value}"

    return check


def above(bound: float) -> Requirement:
    """The value is finite and larger than ``bound``."""
    return lambda value: (
        None
        if math.isfinite(value) and value > bound
        else f"must be a finite number > {bound}, got {value}"
    )


def not_below(bound: float) -> Requirement:
    """The value is finite and ``bound`` or larger."""
    return lambda value: (
        None
        if math.isfinite(value) and value >= bound
        else f"must be a finite number ≥ {bound}, got {value}"
    )


def within(low: float, high: float) -> Requirement:
    """``low`` ≤ value < ``high``."""
    return lambda value: None if low <= value < high else f"must be in [{low}, {high}), got {value}"


def as_pair(value: Pair) -> tuple[int, int]:
    """(vertical, horizontal)."""
    return (value, value) if isinstance(value, int) else value


def pair_at_least(bound: int) -> Requirement:
    """Each of the two, or the one, is a count of ``bound`` or more."""
    check = at_least(bound)
    return lambda value: next(
        (problem for number in as_pair(value) if (problem := check(number))), None
    )


def one_of(*names: str) -> Requirement:
    """One of two or more names."""
    shown = [repr(name) for name in names]
    expected = f"{', '.join(shown[:-1])} or {shown[-1]}"
    return lambda value: None if value in names else f"must be {expected}, got {value!r}"
