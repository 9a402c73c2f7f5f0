"""How the learning rate changes in a run. Adding a schedule is a file and a row in the table."""

from trainer.schedules.constant import Constant
from trainer.schedules.cosine import Cosine
from trainer.schedules.plateau import Plateau
from trainer.schedules.schedule import Moment, Schedule
from trainer.schedules.step import Step
from trainer.schedules.warmup import warmup

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
    "warmup",
]
