"""How the weights follow the gradient. Adding a rule is a file and a row in the table."""

from trainer.update_rules.adagrad import Adagrad
from trainer.update_rules.adam import Adam
from trainer.update_rules.adamw import AdamW
from trainer.update_rules.descent import Descent
from trainer.update_rules.momentum import Momentum
from trainer.update_rules.nesterov import Nesterov
from trainer.update_rules.rmsprop import RMSProp
from trainer.update_rules.sgd import SGD
from trainer.update_rules.update_rule import State, UpdateRule

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
