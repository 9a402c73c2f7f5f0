"""Check every derivative of a specification's network against differences, in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from sumgrad.layers import Layer, Loss, Network, TargetError, Targets
from sumgrad.layers.base.arrays import Array, Params, Shape
from sumgrad.layers.base.context import Context, Key
from sumgrad.layers.base.layer import Backward
from sumgrad.layers.derivatives.gradient_check import TOLERANCE, compare
from sumgrad.trainer.spec.fit import describe_data, shape_mistakes
from sumgrad.trainer.spec.run_spec import RunSpec
from sumgrad.trainer.spec.violations import InvalidSpecError, Violation

DRAWS = 5
"""Draws of parameters, inputs, feedback and direction for every derivative."""

REDRAWS = 25
"""How often draws at a kink are repeated, in all draws of a derivative together."""

PARAMETER_NOISE = 0.01
"""Added to initial values: while a bias is zero, a wrong factor of it would not show."""

MAX_PARAMETERS = 50_000_000
"""The check needs about six float64 vectors of this length: 2.4 GB."""

_KEY_STEP = (0, 0)
"""Step and shard in the key of random draws, which stay the same throughout a comparison."""

Case = tuple[Callable[[Array], float], Array, Array]
"""A function, a point and the gradient there."""


@dataclass(frozen=True)
class LayerErrors:
    """Worst relative errors of one layer's δX and parameter gradients."""

    output: Shape
    x: float
    params: dict[str, float]


@dataclass(frozen=True)
class GradientReport:
    """Worst relative errors.

    Attributes:
        loss: of δS.
        network: of the loss by the flat vector of all parameters; None if there are none.
    """

    layers: tuple[LayerErrors, ...]
    loss: float
    network: float | None

    @property
    def worst(self) -> float:
        errors = [self.loss, *([] if self.network is None else [self.network])]
        for layer in self.layers:
            errors += [layer.x, *layer.params.values()]
        return max(errors)

    @property
    def passed(self) -> bool:
        return self.worst <= TOLERANCE


def check_spec(spec: RunSpec, rows: int, seed: int) -> GradientReport:
    """Check a specification's network and loss; describes its data and loads nothing.

    Raises:
        InvalidSpecError: the specification has a mistake, or the network is too large.
    """
    data = describe_data(spec)
    if found := shape_mistakes(spec, data):
        raise InvalidSpecError(found)
    job = spec.job()
    return check_gradients(job.network(data), job.loss, job.targets(data), rows, seed)


def check_gradients(
    network: Network, loss: Loss, targets: Targets, rows: int, seed: int
) -> GradientReport:
    """Check every layer by itself, the loss by itself, and the whole network with its loss.

    Inputs are standard normal, parameters initial values with a little noise; class numbers are
    uniform, target vectors are zeros and ones, or −1 and 1. Each derivative is checked in DRAWS
    fresh draws and the worst counts. A draw beside a kink (of ReLU, max pooling, the hinge) is
    recognised by differences that contradict each other, and is made again; if that goes on for
    REDRAWS draws the smallest error that was seen counts, which is above the tolerance.

    Args:
        rows: samples of a batch.
        seed: all draws follow from it, and from the layer.

    Raises:
        InvalidSpecError: more than MAX_PARAMETERS parameters.
    """
    if network.size > MAX_PARAMETERS:
        raise InvalidSpecError(
            [
                Violation(
                    "model.layers",
                    f"{network.size:,} parameters; the check takes at most {MAX_PARAMETERS:,}, "
                    "so make layers smaller with --set",
                )
            ]
        )
    draws = [
        _LayerDraws(layer, shape, rows, (seed, *_KEY_STEP, index))
        for index, (layer, shape) in enumerate(
            zip(network.layers, network.input_shapes, strict=True)
        )
    ]
    layers = [
        LayerErrors(
            shapes.output,
            _worst(draw.by_input, _rng(seed, index)),
            {
                name: _worst(partial(draw.by_parameter, name), _rng(seed, index))
                for name in shapes.params
            },
        )
        for index, (draw, shapes) in enumerate(zip(draws, network.shapes, strict=True))
    ]
    whole = _NetworkDraws(network, loss, targets, rows, seed)
    number = len(layers)
    return GradientReport(
        tuple(layers),
        _worst(whole.by_scores, _rng(seed, number)),
        _worst(whole.by_parameters, _rng(seed, number + 1)) if network.size else None,
    )


def _worst(draw: Callable[[np.random.Generator], Case], rng: np.random.Generator) -> float:
    """The largest error of DRAWS draws that are not beside a kink."""
    worst, redraws = 0.0, REDRAWS
    for _ in range(DRAWS):
        found = compare(*draw(rng), rng)
        while found.kink and redraws > 0:
            redraws -= 1
            again = compare(*draw(rng), rng)
            found = min(found, again, key=lambda one: (one.kink, one.error))
        worst = max(worst, found.error)
    return worst


def _rng(seed: int, stream: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream,)))


@dataclass(frozen=True)
class _LayerDraws:
    """Draws of l = ⟨δY, Y⟩ for one layer, whose feedback is δY by definition."""

    layer: Layer
    input_shape: Shape
    rows: int
    key: Key

    def by_input(self, rng: np.random.Generator) -> Case:
        params, x = self._draw(rng)
        dy, dx, _ = self._derivatives(params, x, rng)
        return lambda moved: float(np.vdot(dy, self._forward(params, moved)[0])), x, dx

    def by_parameter(self, name: str, rng: np.random.Generator) -> Case:
        params, x = self._draw(rng)
        dy, _, grads = self._derivatives(params, x, rng)

        def function(moved: Array) -> float:
            return float(np.vdot(dy, self._forward({**params, name: moved}, x)[0]))

        return function, params[name], grads[name]

    def _draw(self, rng: np.random.Generator) -> tuple[Params, Array]:
        shapes = self.layer.shapes(self.input_shape).params
        params: Params = {name: np.zeros(shape) for name, shape in shapes.items()}
        self.layer.init(rng, params)
        for value in params.values():
            value += PARAMETER_NOISE * rng.standard_normal(value.shape)
        return params, rng.standard_normal((self.rows, *self.input_shape))

    def _derivatives(
        self, params: Params, x: Array, rng: np.random.Generator
    ) -> tuple[Array, Array, Params]:
        """δY, δX and the parameters' gradients."""
        y, backward = self._forward(params, x)
        dy = rng.standard_normal(y.shape)
        grads = {name: np.zeros_like(value) for name, value in params.items()}
        dx = backward(dy, grads)
        assert dx is not None
        return dy, dx, grads

    def _forward(self, params: Params, x: Array) -> tuple[Array, Backward]:
        return self.layer.forward(params, x, Context(self.key))


@dataclass(frozen=True)
class _NetworkDraws:
    """Draws of the summed loss, by the scores and by all parameters."""

    network: Network
    loss: Loss
    targets: Targets
    rows: int
    seed: int

    def by_scores(self, rng: np.random.Generator) -> Case:
        s = rng.standard_normal((self.rows, *self.network.output_shape))
        y = self._targets(self._input(rng), rng)
        return lambda moved: self.loss.forward(moved, y)[0], s, self.loss.forward(s, y)[1]

    def by_parameters(self, rng: np.random.Generator) -> Case:
        weights = self.network.init(int(rng.integers(2**63)), np.float64)
        weights += PARAMETER_NOISE * rng.standard_normal(weights.shape)
        x = self._input(rng)
        y = self._targets(x, rng)
        key = (self.seed, *_KEY_STEP)
        scores, backward = self.network.forward(self.network.views(weights), x, key)
        gradient = np.zeros_like(weights)
        backward(self.loss.forward(scores, y)[1], self.network.views(gradient))

        def function(moved: Array) -> float:
            return self.loss.forward(self.network.forward(self.network.views(moved), x, key)[0], y)[
                0
            ]

        return function, weights, gradient

    def _input(self, rng: np.random.Generator) -> Array:
        return rng.standard_normal((self.rows, *self.network.input_shape))

    def _targets(self, x: Array, rng: np.random.Generator) -> Array:
        if self.loss.unsupervised:
            return x
        if self.targets.classes is not None:
            return rng.integers(0, self.targets.classes, self.rows)
        y = rng.integers(0, 2, (self.rows, *(self.targets.shape or ()))).astype(np.float64)
        try:
            self.loss.check_values(y)
        except TargetError:
            return 2 * y - 1
        return y
