"""How does the learning rate change in a run? One schedule a file; ``SCHEDULES`` is the table."""

from sumgrad.trainer.arithmetic.schedules.constant import Constant
from sumgrad.trainer.arithmetic.schedules.cosine import Cosine
from sumgrad.trainer.arithmetic.schedules.learning_rate import learning_rate
from sumgrad.trainer.arithmetic.schedules.plateau import Plateau
from sumgrad.trainer.arithmetic.schedules.schedule import Moment, Schedule
from sumgrad.trainer.arithmetic.schedules.step import Step
from sumgrad.trainer.arithmetic.schedules.warmup import warmup

SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "cosine": Cosine,
    "plateau": Plateau,
    "step": Step,
}

__all__ = [
    "SCHEDULES",
    "Constant",
    "Cosine",
    "Moment",
    "Plateau",
    "Schedule",
    "Step",
    "learning_rate",
    "warmup",
]
