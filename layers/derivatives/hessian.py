"""The Hessian of a network's loss: the Jacobian of its gradient.

Source: docs/mathematics.md#2-derivatives.
"""

from __future__ import annotations

import numpy as np

from sumgrad.layers.base.arrays import Array
from sumgrad.layers.base.context import Key
from sumgrad.layers.derivatives.jacobians import central_differences
from sumgrad.layers.losses import Loss
from sumgrad.layers.network.network import Network


def hessian(
    network: Network, loss: Loss, weights: Array, x: Array, y: Array, key: Key | None = None
) -> Array:
    """∂²l/∂θ² of the summed loss over the flat parameter vector, (size, size), float64.

    Central differences of the analytic gradient, symmetrised. It costs 2 · size forward and
    backward passes and several matrices of size² float64 numbers: 10,000 parameters take 800 MB
    a matrix. Big networks never form it; Adagrad, RMSProp and Adam stand in for its diagonal.
    Wrong where a kink lies within a step of the weights.

    Args:
        weights: the network's flat vector.
        x, y: a batch and its targets, as for ``network.forward`` and ``loss.forward``.
        key: what random draws follow from, as for ``network.forward``; the same in every pass.
    """
    x = x.astype(np.float64)

    def gradient(flat: Array) -> Array:
        grads = np.zeros_like(flat)
        scores, backward = network.forward(network.views(flat), x, key)
        backward(loss.forward(scores, y)[1], network.views(grads))
        return grads

    H = central_differences(gradient, weights.astype(np.float64))
    return (H + H.T) / 2
