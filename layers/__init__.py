"""What does a layer compute? Forward and backward in NumPy, one layer a file.

``LAYERS`` is the table of the layers that a specification may name. This package imports nothing
else of sumgrad. To add a layer: docs/changing.md#a-layer.
"""

from sumgrad.layers.affine import Affine
from sumgrad.layers.affine_relu import AffineReLU
from sumgrad.layers.base.hyperparameters import InvalidHyperparameterError, ShapeError
from sumgrad.layers.base.layer import Layer
from sumgrad.layers.dropout import Dropout
from sumgrad.layers.elu import ELU
from sumgrad.layers.flatten import Flatten
from sumgrad.layers.images.convolution import Convolution
from sumgrad.layers.images.convolution_relu import ConvolutionReLU
from sumgrad.layers.images.max_pool import MaxPool
from sumgrad.layers.images.mean_pool import MeanPool
from sumgrad.layers.layer_norm import LayerNorm
from sumgrad.layers.losses import LOSSES, Loss, Metric, TargetError, Targets
from sumgrad.layers.maxout import Maxout
from sumgrad.layers.network.network import LayerShapeError, Network
from sumgrad.layers.relu import ReLU
from sumgrad.layers.sigmoid import Sigmoid
from sumgrad.layers.tanh import Tanh

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
