"""The shared part of losses whose scores are one vector a row, one score a class."""

from __future__ import annotations

from sumgrad.layers.base.arrays import Array, Shape
from sumgrad.layers.base.hyperparameters import ShapeError
from sumgrad.layers.losses.loss import Targets
from sumgrad.layers.losses.metrics import answers


def check_class_scores(loss: str, scores: Shape, targets: Targets) -> None:
    """Raise ShapeError unless y are class numbers and there is one score a class."""
    if targets.classes is None:
        raise ShapeError(f"{loss} needs class numbers as targets, the data has vectors")
    if scores != (targets.classes,):
        raise ShapeError(
            f"{loss} needs scores of shape ({targets.classes},), one a class of the "
            f"data, but the last layer gives {scores}"
        )


def measure_class_scores(s: Array, y: Array) -> tuple[float, float]:
    """The sums of accuracy; the class of the largest score is the answer."""
    return answers(largest_class_score(s) == y)


def largest_class_score(s: Array) -> Array:
    """The class of each row's largest score, the first where tied."""
    return s.argmax(axis=1)
