"""Convolution and pooling: facts of docs/mathematics.md#6-image-layers, refused shapes, ties,
precision and memory.
"""

from __future__ import annotations

import math
import tracemalloc
from collections import defaultdict

import numpy as np
import pytest
from numpy.typing import DTypeLike

from sumgrad.layers import (
    Affine,
    AffineReLU,
    Convolution,
    ConvolutionReLU,
    InvalidHyperparameterError,
    Layer,
    LayerShapeError,
    MaxPool,
    MeanPool,
    Network,
    ReLU,
    ShapeError,
    Tanh,
)
from sumgrad.layers.base.arrays import Params, Shape
from sumgrad.layers.base.context import Context, Workspace
from sumgrad.layers.images.correlation import samples_at_once

from support.gradient_check import Array


def parameters(layer: Layer, input_shape: Shape) -> int:
    return sum(math.prod(shape) for shape in layer.shapes(input_shape).params.values())


def test_parameters_are_as_many_as_the_course_counts() -> None:
    image = (480, 640, 3)
    same_size = Convolution(3, 5, padding=2, bias="position")
    assert same_size.shapes(image).output == image
    assert parameters(same_size, image) == 25 * 9 + 640 * 480 * 3 == 921_825
    assert parameters(Convolution(3, 5, padding=2), image) == 25 * 9 + 3
    assert parameters(Convolution(3, 5, padding=2, bias="none"), image) == 25 * 9
    assert parameters(Affine(math.prod(image)), image) == 849_347_481_600


@pytest.mark.parametrize(
    ("layer", "input_shape", "output"),
    [
        (Convolution(4, 5), (28, 28, 1), (24, 24, 4)),
        (Convolution(4, 5, padding=2), (28, 28, 1), (28, 28, 4)),
        (Convolution(4, 3, stride=2, padding=1), (7, 8, 2), (4, 4, 4)),
        (Convolution(4, (1, 4), stride=(3, 1), padding=(0, 2)), (7, 8, 2), (3, 9, 4)),
        (Convolution(4, 5, padding=2), (1, 1, 2), (1, 1, 4)),
        (MaxPool(2), (4, 6, 3), (2, 3, 3)),
        (MaxPool((2, 3), "drop"), (5, 7, 3), (2, 2, 3)),
        (MeanPool((4, 1)), (4, 6, 3), (1, 6, 3)),
    ],
    ids=repr,
)
def test_output_sizes(layer: Layer, input_shape: Shape, output: Shape) -> None:
    assert layer.shapes(input_shape).output == output


@pytest.mark.parametrize(
    ("layer", "input_shape", "message"),
    [
        (Convolution(4, 3), (8, 8), r"needs samples of height × width × channels.* gets \(8, 8\)"),
        (
            ConvolutionReLU(4, (5, 3), padding=(0, 1)),
            (4, 9, 2),
            "kernel of 5 × 3 .* the 4 × 9 that come in, with a padding of 0 and 1; .* pad more",
        ),
        (Convolution(4, (2, 8), padding=2), (9, 3, 2), "kernel of 2 × 8 .* the 9 × 3"),
        (MaxPool(2), (64,), r"needs samples of height × width × channels.* gets \(64,\)"),
        (MaxPool(2), (4, 5, 1), 'blocks of 2 × 2 do not fill the 4 × 5 .*ragged = "drop"'),
        (MeanPool((3, 1)), (4, 5, 1), "blocks of 3 × 1 do not fill the 4 × 5"),
        (MeanPool((3, 1), "drop"), (2, 5, 1), "blocks of 3 × 1 are larger than the 2 × 5"),
        (MaxPool((1, 6), "drop"), (2, 5, 1), "blocks of 1 × 6 are larger than the 2 × 5"),
    ],
    ids=repr,
)
def test_a_shape_that_does_not_fit_is_refused_with_what_comes_in_and_what_is_needed(
    layer: Layer, input_shape: Shape, message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        layer.shapes(input_shape)
    with pytest.raises(LayerShapeError, match=message) as caught:
        _ = Network((Tanh(), ReLU(), layer), input_shape).shapes
    assert caught.value.index == 2


@pytest.mark.parametrize("kind", [Convolution, ConvolutionReLU])
@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("channels", 0, "must be ≥ 1, got 0"),
        ("kernel", 0, "must be ≥ 1, got 0"),
        ("kernel", (3, -1), "must be ≥ 1, got -1"),
        ("stride", (0, 2), "must be ≥ 1, got 0"),
        ("padding", -1, "must be ≥ 0, got -1"),
        ("padding", 2**31, f"must be ≤ {2**31 - 1}, got {2**31}"),
        ("bias", "both", "must be 'channel', 'position' or 'none', got 'both'"),
        ("init_std", 0.0, "must be a finite number > 0, got 0.0"),
    ],
)
def test_a_hyperparameter_out_of_range_is_named(
    kind: type[Convolution], field: str, value: object, problem: str
) -> None:
    with pytest.raises(InvalidHyperparameterError) as caught:
        kind(**{"channels": 4, "kernel": 3, field: value})  # type: ignore[arg-type]
    assert caught.value.problems == [(field, problem)]


@pytest.mark.parametrize("kind", [MaxPool, MeanPool])
def test_blocks_out_of_range_are_named(kind: type[MaxPool | MeanPool]) -> None:
    with pytest.raises(InvalidHyperparameterError) as caught:
        kind((2, 0), ragged="keep")  # type: ignore[arg-type]
    assert caught.value.problems == [
        ("size", "must be ≥ 1, got 0"),
        ("ragged", "must be 'error' or 'drop', got 'keep'"),
    ]


def test_one_number_means_both_axes() -> None:
    assert Convolution(4, 3, 2, 1) == Convolution(4, (3, 3), (2, 2), (1, 1))
    assert MaxPool(2) == MaxPool((2, 2))
    assert MeanPool(3) == MeanPool((3, 3))


class Pass:
    """One pass of a layer over standard normal numbers.

    Attributes:
        y, dx, grads: what it gives.
        x, dy, params: what it is given.
    """

    def __init__(
        self,
        layer: Layer,
        x_shape: Shape,
        dtype: type = np.float64,
        workspace: Workspace | None = None,
    ) -> None:
        rng = np.random.default_rng(5)
        shapes = layer.shapes(x_shape[1:])

        def draw(shape: Shape) -> Array:
            return rng.standard_normal(shape).astype(np.float32).astype(dtype)

        self.params: Params = {name: draw(shape) for name, shape in shapes.params.items()}
        self.x, self.dy = draw(x_shape), draw((x_shape[0], *shapes.output))
        self.grads = {name: np.empty_like(value) for name, value in self.params.items()}
        self.y, backward = layer.forward(self.params, self.x, Context(workspace=workspace))
        dx = backward(self.dy, self.grads)
        assert dx is not None
        self.dx = dx


@pytest.mark.parametrize("channels", [2, 16], ids=["few-channels", "many-channels"])
@pytest.mark.parametrize(("kernel", "padding"), [((3, 5), (1, 2)), ((5, 5), (2, 2))])
def test_the_feedback_of_a_convolution_is_convolution_with_the_mirrored_kernel(
    channels: int, kernel: tuple[int, int], padding: tuple[int, int]
) -> None:
    there = Pass(Convolution(3, kernel, padding=padding, bias="none"), (4, 7, 8, channels))
    mirrored = there.params["K"][::-1, ::-1].swapaxes(2, 3)
    back = Convolution(channels, kernel, padding=padding, bias="none")
    dx, _ = back.forward({"K": mirrored}, there.dy)
    np.testing.assert_allclose(there.dx, dx, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("block", "place"),
    [
        ([[4, 4], [4, 4]], (0, 0)),
        ([[1, 2], [2, 1]], (0, 1)),
        ([[0, 2], [2, 2]], (0, 1)),
        ([[0, 1], [2, 2]], (1, 0)),
        ([[-5, -5], [-7, -4]], (1, 1)),
        ([[0, 3, 1], [3, 0, 3], [2, 3, 3]], (0, 1)),
        ([[0, 2, 1], [2, 0, 3], [3, 0, 0]], (1, 2)),
    ],
    ids=str,
)
def test_feedback_goes_to_the_first_of_the_largest_in_row_major_order(
    block: list[list[float]], place: tuple[int, int]
) -> None:
    size = len(block)
    x = np.array(block, np.float64).reshape(1, size, size, 1)
    y, backward = MaxPool(size).forward({}, x)
    assert y.item() == x.max()
    expected = np.zeros(x.shape)
    expected[0, place[0], place[1], 0] = 7
    np.testing.assert_array_equal(backward(np.full((1, 1, 1, 1), 7.0), {}), expected)


@pytest.mark.parametrize("kind", [MaxPool, MeanPool])
def test_what_is_dropped_gets_no_feedback(kind: type[MaxPool | MeanPool]) -> None:
    dx = Pass(kind((2, 3), "drop"), (4, 5, 8, 2)).dx
    assert not dx[:, 4:].any()
    assert not dx[:, :, 6:].any()
    assert dx[:, :4, :6].any()


def test_float32_is_within_a_few_millionths_of_float64() -> None:
    layer = Convolution(32, 5, padding=2)
    single, double = (Pass(layer, (6, 14, 14, 16), dtype) for dtype in (np.float32, np.float64))
    pairs = [(single.y, double.y), (single.dx, double.dx)]
    pairs += [(single.grads[name], double.grads[name]) for name in ("K", "b")]
    for ours, exact in pairs:
        assert ours.dtype == np.float32
        assert np.abs(ours - exact).max() < 3e-6 * np.abs(exact).max()


# Memory.

LENET = Network(
    (
        Convolution(16, 5, padding=2),
        ReLU(),
        MaxPool(2),
        Convolution(32, 5, padding=2),
        ReLU(),
        MaxPool(2),
        AffineReLU(128),
        Affine(10),
    ),
    (28, 28, 1),
)


ROWS = 64

SMALLEST_ACTIVATION = ROWS * 7 * 7 * 32 * 4
"""Bytes of LENET's smallest batch of images."""


def peak_of_a_second_pass(workspace: Workspace | None, rows: int = ROWS) -> int:
    """Bytes that LENET allocates at once in a pass, forward and backward."""
    rng = np.random.default_rng(2)
    weights = LENET.views(LENET.init(1))
    grads = LENET.views(np.empty(LENET.size, np.float32))
    x = rng.standard_normal((rows, *LENET.input_shape), np.float32)
    ds = rng.standard_normal((rows, *LENET.output_shape), np.float32)

    def one_pass() -> None:
        _, backward = LENET.forward(weights, x, workspace=workspace)
        backward(ds, grads)

    one_pass()
    tracemalloc.start()
    try:
        one_pass()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_second_pass_of_a_convolutional_network_allocates_nothing_large() -> None:
    assert peak_of_a_second_pass(Workspace()) < SMALLEST_ACTIVATION / 2


@pytest.mark.slow
def test_what_a_second_pass_allocates_does_not_grow_with_the_batch() -> None:
    few, many = (peak_of_a_second_pass(Workspace(), rows) for rows in (ROWS, 4 * ROWS))
    # What grows is the views of the parts that a batch is worked on in.
    assert many - few < SMALLEST_ACTIVATION / 20


def test_without_a_workspace_the_measure_sees_every_activation() -> None:
    assert peak_of_a_second_pass(None) > 10 * SMALLEST_ACTIVATION


class Noting(Workspace):
    """Notes the bytes of the largest array of each name."""

    def __init__(self) -> None:
        super().__init__()
        self.largest: defaultdict[str, int] = defaultdict(int)

    def empty(self, owner: int, name: str, shape: Shape, dtype: DTypeLike) -> Array:
        array = super().empty(owner, name, shape, dtype)
        self.largest[name] = max(self.largest[name], array.nbytes)
        return array


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 16], ids=["few-channels", "many-channels"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", [Convolution, ConvolutionReLU])
def test_the_memory_that_a_convolution_works_in_does_not_grow_with_the_batch(
    kind: type[Convolution], stride: int, channels: int
) -> None:
    image = (28, 28, channels)
    layer = kind(32, 5, stride=stride, padding=2)
    plane = layer.plane(image)
    K = plane.by_phase(np.empty(layer.shapes(image).params["K"], np.float32))
    assert samples_at_once(plane.size, K) <= 64, "the smaller batch is worked on in one go"
    works_in = []
    for rows in (64, 256):
        workspace = Noting()
        found = Pass(layer, (rows, *image), np.float32, workspace)
        assert found.dx.nbytes == workspace.largest["dx"]
        outputs = workspace.largest.pop("y") + workspace.largest.pop("dx")
        works_in.append(dict(workspace.largest))
        assert workspace.nbytes - outputs == sum(workspace.largest.values())
    assert works_in[0] == works_in[1]


@pytest.mark.parametrize("size", [(1, 4), (4, 1), (2, 2), (2, 4), (3, 3), (4, 5)])
def test_feedback_goes_to_the_first_largest_element_of_blocks_full_of_ties(
    size: tuple[int, int],
) -> None:
    rows, columns = size
    rng = np.random.default_rng(1)
    for values in (2, 3, 4):
        x = rng.integers(0, values, (40, 2 * rows, 2 * columns, 3)).astype(np.float64)
        y, backward = MaxPool(size).forward({}, x)
        dy = rng.standard_normal(y.shape)
        expected = np.zeros_like(x)
        for n, i, j, c in np.ndindex(y.shape):
            block = x[n, i * rows : (i + 1) * rows, j * columns : (j + 1) * columns, c]
            u, v = divmod(int(block.argmax()), columns)
            expected[n, i * rows + u, j * columns + v, c] = dy[n, i, j, c]
        np.testing.assert_array_equal(backward(dy, {}), expected)
