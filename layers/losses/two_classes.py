"""The shared part of the logistic losses: scores whose sign is the answer, and the sigmoid."""

from __future__ import annotations

import numpy as np

from sumgrad.layers.base.arrays import Array, Shape
from sumgrad.layers.base.hyperparameters import ShapeError
from sumgrad.layers.losses.loss import TargetError, Targets


def check_scores(loss: str, scores: Shape, targets: Targets) -> None:
    """Raise ShapeError unless there is one score a row for two classes, or one a target element."""
    if targets.classes is None:
        needed, why = targets.shape, "the targets' shape"
    elif targets.classes == 2:
        needed, why = (1,), "one for two classes"
    else:
        raise ShapeError(
            f"{loss} needs two classes or vectors as targets, the data has {targets.classes} "
            "classes"
        )
    if scores != needed:
        raise ShapeError(
            f"{loss} needs scores of shape {needed}, {why}, but the last layer gives {scores}"
        )


def class_of_sign(s: Array) -> Array | None:
    """1 where a row's one score is positive, else 0; None where it has several scores."""
    return (s[:, 0] > 0).astype(np.int64) if s.shape[1:] == (1,) else None


def are_class_numbers(y: Array) -> bool:
    return y.dtype.kind in "iu"


def refuse(loss: str, needed: str, y: Array, legal: Array) -> None:
    """Raise TargetError with the first value of y that is not legal, if there is one."""
    if not legal.all():
        raise TargetError(
            f"{loss} needs {needed} as targets, the data has {y[~legal][0]}; convert the targets"
        )


def sigmoid_and_tail(x: Array) -> tuple[Array, Array]:
    """φ(x) = 1 / (1 + e^−x) and log(1 + e^−|x|), of x's type.

    The tail is log(1 + e^x) − max(0, x). It is computed separately, so that rounding keeps it.
    """
    e = np.abs(x)
    np.negative(e, out=e)
    np.exp(e, out=e)
    u = 1 + e
    p = np.maximum(e, x >= 0)
    p /= u
    # log u, and what rounding took from u; np.log1p of e takes five times as long.
    e -= u - 1
    e /= u
    np.log(u, out=u)
    u += e
    return p, u
