"""The mathematics: layers, losses and networks in NumPy. Imports nothing else of sumgrad.

Adding a layer is one new file and one row in the table.
"""

from layers.affine import Affine
from layers.affine_relu import AffineReLU
from layers.convolution import Convolution
from layers.convolution_relu import ConvolutionReLU
from layers.flatten import Flatten
from layers.hyperparameters import InvalidHyperparameterError, ShapeError
from layers.layer import Layer
from layers.losses import LOSSES, Loss, Metric, TargetError, Targets
from layers.max_pool import MaxPool
from layers.mean_pool import MeanPool
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
    "Convolution",
    "ConvolutionReLU",
    "Flatten",
    "InvalidHyperparameterError",
    "Layer",
    "LayerShapeError",
    "Loss",
    "MaxPool",
    "MeanPool",
    "Metric",
    "Network",
    "ReLU",
    "ShapeError",
    "TargetError",
    "Targets",
]
