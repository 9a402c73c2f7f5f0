"""Derivatives in full, for people who study: Jacobians of layers and networks, and the Hessian.

Training never forms them; it goes backward once, with the feedback of the loss.
"""

from sumgrad.layers.derivatives.hessian import hessian
from sumgrad.layers.derivatives.jacobians import Jacobians, analytic_jacobians, numeric_jacobians
from sumgrad.layers.derivatives.one_layer import OneLayer

__all__ = ["Jacobians", "OneLayer", "analytic_jacobians", "hessian", "numeric_jacobians"]
