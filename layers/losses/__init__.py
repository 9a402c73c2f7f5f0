"""How bad is a score, and which metric stands beside the loss? One loss a file.

``LOSSES`` is the table of the losses that a specification may name.
"""

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

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in sorted({loss.metric for loss in LOSSES.values()}, key=lambda metric: metric.name)
}
"""Every metric that a loss has, by its name."""

__all__ = [
    "LOSSES",
    "METRICS",
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
