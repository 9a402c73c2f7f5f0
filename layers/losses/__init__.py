"""The losses. Adding one is a file and a row in the table."""

from sumgrad.layers.losses.cross_entropy import CrossEntropy
from sumgrad.layers.losses.logistic import Logistic
from sumgrad.layers.losses.loss import Loss, TargetError, Targets
from sumgrad.layers.losses.metrics import Metric
from sumgrad.layers.losses.reconstruction import Reconstruction
from sumgrad.layers.losses.signed_logistic import SignedLogistic
from sumgrad.layers.losses.squared_error import SquaredError
from sumgrad.layers.losses.svm import SVM

LOSSES: dict[str, type[Loss]] = {
    "cross_entropy": CrossEntropy,
    "logistic": Logistic,
    "reconstruction": Reconstruction,
    "signed_logistic": SignedLogistic,
    "squared_error": SquaredError,
    "svm": SVM,
}

__all__ = [
    "LOSSES",
    "SVM",
    "CrossEntropy",
    "Logistic",
    "Loss",
    "Metric",
    "Reconstruction",
    "SignedLogistic",
    "SquaredError",
    "TargetError",
    "Targets",
]
