"""How does an update rule change the weights? One rule a file; ``UPDATE_RULES`` is the table."""

from sumgrad.trainer.arithmetic.update_rules.adagrad import Adagrad
from sumgrad.trainer.arithmetic.update_rules.adam import Adam
from sumgrad.trainer.arithmetic.update_rules.adamw import AdamW
from sumgrad.trainer.arithmetic.update_rules.descent import Descent
from sumgrad.trainer.arithmetic.update_rules.momentum import Momentum
from sumgrad.trainer.arithmetic.update_rules.nesterov import Nesterov
from sumgrad.trainer.arithmetic.update_rules.rmsprop import RMSProp
from sumgrad.trainer.arithmetic.update_rules.sgd import SGD
from sumgrad.trainer.arithmetic.update_rules.update_rule import State, UpdateRule

UPDATE_RULES: dict[str, type[UpdateRule]] = {
    "adagrad": Adagrad,
    "adam": Adam,
    "adamw": AdamW,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "rmsprop": RMSProp,
    "sgd": SGD,
}

__all__ = [
    "SGD",
    "UPDATE_RULES",
    "Adagrad",
    "Adam",
    "AdamW",
    "Descent",
    "Momentum",
    "Nesterov",
    "RMSProp",
    "State",
    "UpdateRule",
]
