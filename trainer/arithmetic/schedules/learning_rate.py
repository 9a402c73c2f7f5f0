"""The learning rate of a step, from the rule's own, the schedule and the warm-up."""

from __future__ import annotations

from sumgrad.trainer.arithmetic.schedules.schedule import Moment, Schedule
from sumgrad.trainer.arithmetic.schedules.warmup import warmup


def learning_rate(base: float, schedule: Schedule, warmup_steps: int, moment: Moment) -> float:
    """λ of the step that begins at this moment."""
    scale = schedule.scale(moment) * warmup(moment.step, warmup_steps)
    return base * scale
