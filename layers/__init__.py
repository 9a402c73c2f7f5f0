"""The mathematics: layers, losses and networks in NumPy. Imports nothing else of sumgrad.

Adding a layer is one new file and one row in the table.
"""

from layers.affine import Affine
from layers.affine_relu import AffineReLU
from layers.flatten import Flatten
from layers.hyperparameters import InvalidHyperparameterError, ShapeError
from layers.layer import Layer
from layers.losses import LOSSES, Loss, Metric, TargetError, Targets
from layers.network import LayerShapeError, Network
from layers.relu import ReLU

LAYERS: dict[str, type[Layer]] = {
    "affine": Affine,
    "affine_relu": AffineReLU,
    "flatten": Flatten,
    "relu": ReLU,
}

__all__ = [
    "LAYERS",
    "LOSSES",
    "Affine",
    "AffineReLU",
    "Flatten",
    "InvalidHyperparameterError",
    "Layer",
    "LayerShapeError",
    "Loss",
    "Metric",
    "Network",
    "ReLU",
    "ShapeError",
    "TargetError",
    "Targets",
]
