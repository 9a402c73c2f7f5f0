"""One layer, forward and back in float32: ours as a worker runs it, and PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sumgrad.layers import Affine, Convolution, Layer, MaxPool
from sumgrad.layers.base.arrays import Array, Params, Shape
from sumgrad.layers.base.context import Context, Workspace
from sumgrad.layers.base.hyperparameters import as_pair

Axes = tuple[int, int, int, int]


@dataclass(frozen=True)
class Case:
    """A layer, the shape of one sample (channels last), and whether δX is wanted."""

    title: str
    layer: Layer
    input_shape: Shape
    input_gradient: bool = True


@dataclass(frozen=True)
class Numbers:
    """Random X, δY and parameters of a case, laid out as ours; the same ones every time."""

    x: Array
    dy: Array
    params: Params

    @classmethod
    def of(cls, case: Case, rows: int) -> Numbers:
        rng = np.random.default_rng(0)
        shapes = case.layer.shapes(case.input_shape)

        def normal(shape: Shape) -> Array:
            return rng.standard_normal(shape, np.float32)

        params = {name: normal(shape) for name, shape in shapes.params.items()}
        return cls(normal((rows, *case.input_shape)), normal((rows, *shapes.output)), params)


class Pass(Protocol):
    """Forward and backward of a case on the same numbers, over and over."""

    def run(self) -> None:
        """Forward and backward, once."""
        ...

    def results(self) -> Params:
        """y, dx if it is wanted, and each parameter's gradient by its name, of the last run."""
        ...

    def forget(self) -> None:
        """Let go of the last run's results, where the next run does not write over them."""
        ...


class OurPass:
    """With a workspace, as a worker has one."""

    def __init__(self, case: Case, numbers: Numbers) -> None:
        self._case, self._numbers = case, numbers
        self._context = Context(workspace=Workspace())
        self._grads = {name: np.empty_like(value) for name, value in numbers.params.items()}

    def run(self) -> None:
        numbers, case = self._numbers, self._case
        self._y, backward = case.layer.forward(numbers.params, numbers.x, self._context)
        self._dx = backward(numbers.dy, self._grads, case.input_gradient)

    def results(self) -> Params:
        return _present({"y": self._y, "dx": self._dx, **self._grads})

    def forget(self) -> None:
        pass


class TorchPass:
    """In the memory format channels_last, in which PyTorch is faster here."""

    _IMAGES: Axes = (0, 3, 1, 2)
    _KERNEL: Axes = (3, 2, 0, 1)

    def __init__(self, case: Case, numbers: Numbers) -> None:
        self._function = _counterpart(case.layer)
        self._x = _theirs(numbers.x, self._IMAGES).requires_grad_(case.input_gradient)
        self._dy = _theirs(numbers.dy, self._IMAGES)
        self._params = {
            name: _theirs(value, self._KERNEL).requires_grad_()
            for name, value in numbers.params.items()
        }
        self._y: Tensor | None = None

    def run(self) -> None:
        self._y = self._function(self._x, *self._params.values())
        self._y.backward(self._dy)

    def results(self) -> Params:
        images = {"y": self._y, "dx": self._x.grad}
        return _present(
            {name: _ours(tensor, self._IMAGES) for name, tensor in images.items()}
            | {name: _ours(value.grad, self._KERNEL) for name, value in self._params.items()}
        )

    def forget(self) -> None:
        # A gradient that is still there would be added to.
        self._y = self._x.grad = None
        for value in self._params.values():
            value.grad = None


def _counterpart(layer: Layer) -> Callable[..., Tensor]:
    """PyTorch's function of X and the layer's parameters."""
    match layer:
        case Affine():
            return functional.linear
        case Convolution(padding=padding):
            return lambda x, K, b: functional.conv2d(x, K, b, padding=as_pair(padding))
        case MaxPool(size=size):
            return lambda x: functional.max_pool2d(x, as_pair(size))
    raise TypeError(f"there is no counterpart of {type(layer).__name__} here; write one")


def _theirs(array: Array, order: Axes) -> Tensor:
    tensor = torch.from_numpy(array)
    if tensor.ndim < 4:
        return tensor
    return tensor.permute(order).contiguous(memory_format=torch.channels_last)


def _ours(tensor: Tensor | None, order: Axes) -> Array | None:
    if tensor is None:
        return None
    array: Array = tensor.detach().numpy()
    return array.transpose(np.argsort(order)) if array.ndim == 4 else array


def _present(arrays: dict[str, Array | None]) -> Params:
    return {name: array for name, array in arrays.items() if array is not None}
