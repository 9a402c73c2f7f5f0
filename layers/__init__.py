"""The mathematics: layers, losses and networks in NumPy. Imports nothing else of sumgrad.

Adding a layer is one new file and one row in the table.
"""

from layers.affine import Affine
from layers.affine_relu import AffineReLU
from layers.convolution import Convolution
from layers.convolution_relu import ConvolutionReLU
from layers.dropout import Dropout
from layers.elu import ELU
from layers.flatten import Flatten
from layers.hyperparameters import InvalidHyperparameterError, ShapeError
from layers.layer import Layer
from layers.layer_norm import LayerNorm
from layers.losses import LOSSES, Loss, Metric, TargetError, Targets
from layers.max_pool import MaxPool
from layers.maxout import Maxout
from layers.mean_pool import MeanPool
from layers.network import LayerShapeError, Network
from layers.relu import ReLU
from layers.sigmoid import Sigmoid
from layers.tanh import Tanh

LAYERS: dict[str, type[Layer]] = {
    "affine": Affine,
    "affine_relu": AffineReLU,
    "convolution": Convolution,
    "convolution_relu": ConvolutionReLU,
    "dropout": Dropout,
    "elu": ELU,
    "flatten": Flatten,
    "layer_norm": LayerNorm,
    "max_pool": MaxPool,
    "maxout": Maxout,
    "mean_pool": MeanPool,
    "relu": ReLU,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
}

__all__ = [
    "ELU",
    "LAYERS",
    "LOSSES",
    "Affine",
    "AffineReLU",
    "Convolution",
    "ConvolutionReLU",
    "Dropout",
    "Flatten",
    "InvalidHyperparameterError",
    "Layer",
    "LayerNorm",
    "LayerShapeError",
    "Loss",
    "MaxPool",
    "Maxout",
    "MeanPool",
    "Metric",
    "Network",
    "ReLU",
    "ShapeError",
    "Sigmoid",
    "Tanh",
    "TargetError",
    "Targets",
]
