"""Early stopping: which epoch was the best, and when to stop waiting for a better one.

Source: Goodfellow, Bengio and Courville 2016, algorithm 7.1. Pure functions of the course of E_out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sumgrad.layers.base.hyperparameters import at_least, not_below, require


@dataclass(frozen=True)
class EarlyStopping:
    """End a run when ``patience`` epochs in a row did not bring E_out more than ``min_delta`` below
    its last improvement. An E_out of NaN is no improvement."""

    patience: int
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        require(self, patience=at_least(1), min_delta=not_below(0))

    def is_over(self, held_out: Sequence[float]) -> bool:
        """Whether to stop after these epochs, each given by its E_out."""
        lowest, waited = math.inf, 0
        for e_out in held_out:
            if e_out < lowest - self.min_delta:
                lowest, waited = e_out, 0
            else:
                waited += 1
        return waited >= self.patience


def best_epoch(held_out: Sequence[float]) -> int:
    """The epoch, counted from 1, of the lowest E_out: the first of equals; NaN is the worst."""
    known = [math.inf if math.isnan(e_out) else e_out for e_out in held_out]
    return known.index(min(known)) + 1
