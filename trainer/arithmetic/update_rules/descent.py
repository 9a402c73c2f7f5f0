"""From an averaged gradient to the next weights: clipping, weight decay, update rule."""

from __future__ import annotations

from dataclasses import dataclass

from sumgrad.trainer.arithmetic.update_rules.update_rule import UpdateRule


@dataclass(frozen=True)
class Descent:
    """The steps between the averaged gradient g and the next weights, in this order.

    Attributes:
        clip_norm: g is scaled down to this Euclidean norm, taken over the whole vector, where it
            is longer (Pascanu et al. 2013); None leaves it.
        clip_value: each element of g is then held within ± this; None leaves it.
        weight_decay: this times W is then added to g: the gradient of the penalty
            ½ · weight_decay · ‖W‖², over all parameters.
        rule: takes the result.
    """

    rule: UpdateRule
    weight_decay: float = 0.0
    clip_value: float | None = None
    clip_norm: float | None = None
