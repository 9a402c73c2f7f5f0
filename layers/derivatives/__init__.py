"""Derivatives in full, for people who study: Jacobians of layers and networks, and the Hessian.

Training never forms them; it goes backward once, with the feedback of the loss.
"""

from layers.derivatives.hessian import hessian
from layers.derivatives.jacobians import Jacobians, analytic_jacobians, numeric_jacobians
from layers.derivatives.one_layer import OneLayer

__all__ = ["Jacobians", "OneLayer", "analytic_jacobians", "hessian", "numeric_jacobians"]
