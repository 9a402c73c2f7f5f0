"""Mistakes in a specification: one field and one sentence each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Violation:
    """``field`` as a path, like ``model.layers[2].units``; ``description`` says what is wrong."""

    field: str
    description: str

    def __str__(self) -> str:
        return f"{self.field}: {self.description}" if self.field else self.description


class InvalidSpecError(ValueError):
    """A specification with at least one mistake."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = list(violations)
        super().__init__("\n".join(str(violation) for violation in self.violations))
