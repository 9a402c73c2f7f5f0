"""Is a derivative right, and what does it look like in full? Gradient checks, Jacobians, Hessians.

Training never forms them: it makes one backward pass, with the feedback of the loss.
"""

from sumgrad.layers.derivatives.hessian import hessian
from sumgrad.layers.derivatives.jacobians import Jacobians, analytic_jacobians, numeric_jacobians
from sumgrad.layers.derivatives.one_layer import OneLayer

__all__ = ["Jacobians", "OneLayer", "analytic_jacobians", "hessian", "numeric_jacobians"]
