"""How the weights follow the gradient. Adding a rule is a file and a row in the table."""

from trainer.update_rules.momentum import Momentum
from trainer.update_rules.sgd import SGD
from trainer.update_rules.update_rule import State, UpdateRule

UPDATE_RULES: dict[str, type[UpdateRule]] = {
    "momentum": Momentum,
    "sgd": SGD,
}

__all__ = ["SGD", "UPDATE_RULES", "Momentum", "State", "UpdateRule"]
