"""The losses. Adding one is a file and a row in the table."""

from layers.losses.cross_entropy import CrossEntropy
from layers.losses.loss import Loss, Targets
from layers.losses.squared_error import SquaredError

LOSSES: dict[str, type[Loss]] = {
    "cross_entropy": CrossEntropy,
    "squared_error": SquaredError,
}

__all__ = ["LOSSES", "CrossEntropy", "Loss", "SquaredError", "Targets"]
