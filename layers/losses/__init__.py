"""The losses. Adding one is a file and a row in the table."""

from layers.losses.cross_entropy import CrossEntropy
from layers.losses.logistic import Logistic
from layers.losses.loss import Loss, TargetError, Targets
from layers.losses.metrics import Metric
from layers.losses.reconstruction import Reconstruction
from layers.losses.signed_logistic import SignedLogistic
from layers.losses.squared_error import SquaredError
from layers.losses.svm import SVM

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
