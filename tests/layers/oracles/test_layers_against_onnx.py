"""Layers against the node tests that the onnx package publishes for every ONNX backend.

ONNX puts an image's channels first, ours come last.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from sumgrad.layers import (
    ELU,
    Affine,
    Convolution,
    Dropout,
    Flatten,
    Layer,
    LayerNorm,
    MaxPool,
    MeanPool,
    ReLU,
    Sigmoid,
    Tanh,
)
from sumgrad.layers.base.arrays import Params
from sumgrad.layers.base.context import EVALUATION, Context

from support.gradient_check import Array

onnx = pytest.importorskip("onnx", reason="the published cases come with the onnx package")


class Node(NamedTuple):
    """One published case of one operator."""

    name: str
    operator: str
    attributes: dict[str, Any]
    inputs: list[Array]
    expected: Array
    rtol: float
    atol: float


def y_of(
    layer: Layer, x: Array, params: Params | None = None, context: Context = EVALUATION
) -> Array:
    return layer.forward(params or {}, x, context)[0]


def is_affine(node: Node) -> bool:
    """The third factor, if there is one, is the same for every row."""
    biases = node.inputs[2:]
    return all(bias.ndim < 2 or len(bias) == 1 for bias in biases)


def affine(node: Node) -> Array:
    """Y = α A B + β C: what is transposed or scaled is so before the layer sees it."""
    a, b, *biases = node.inputs
    x = a.T if node.attributes.get("transA") else a
    W = b if node.attributes.get("transB") else b.T
    bias = np.zeros(len(W), a.dtype)
    for c in biases:
        bias += a.dtype.type(node.attributes.get("beta", 1)) * c.reshape(-1)
    W = a.dtype.type(node.attributes.get("alpha", 1)) * W
    return y_of(Affine(len(W)), x, {"W": W, "b": bias})


def axis(node: Node, default: int) -> int:
    return int(node.attributes.get("axis", default)) % node.inputs[0].ndim


def layer_norm(node: Node) -> Array:
    x, gain, bias = node.inputs
    layer = LayerNorm(node.attributes.get("epsilon", 1e-5))
    return y_of(layer, x, {"gain": gain, "bias": bias})


def dropout_rate(node: Node) -> float:
    return float(node.inputs[1]) if len(node.inputs) > 1 else node.attributes.get("ratio", 0.5)


def is_training(node: Node) -> bool:
    return len(node.inputs) > 2 and bool(node.inputs[2])


def dropout(node: Node) -> Array:
    context = Context(key=(1, 0, 0, 0)) if is_training(node) else EVALUATION
    return y_of(Dropout(dropout_rate(node)), node.inputs[0], context=context)


def y_of_images(layer: Layer, x: Array, params: Params | None = None) -> Array:
    return y_of(layer, x.transpose(0, 2, 3, 1), params).transpose(0, 3, 1, 2)


def is_plain(node: Node) -> bool:
    """Images, with what surrounds them and what is left out said in numbers."""
    attributes = node.attributes
    return (
        node.inputs[0].ndim == 4
        and attributes.get("auto_pad", b"NOTSET") == b"NOTSET"
        and set(attributes.get("dilations", [1])) == {1}
        and not attributes.get("ceil_mode")
    )


def pads(node: Node) -> list[int]:
    """Above, left, below, right."""
    return list(node.attributes.get("pads", [0, 0, 0, 0]))


def is_convolution(node: Node) -> bool:
    same_on_both_sides = pads(node)[:2] == pads(node)[2:]
    return is_plain(node) and same_on_both_sides and node.attributes.get("group", 1) == 1


def convolution(node: Node) -> Array:
    x, kernels, *biases = node.inputs
    vertical, horizontal = node.attributes.get("strides", [1, 1])
    layer = Convolution(
        len(kernels),
        kernel=(kernels.shape[2], kernels.shape[3]),
        stride=(vertical, horizontal),
        padding=(pads(node)[0], pads(node)[1]),
        bias="channel" if biases else "none",
    )
    params = {"K": kernels.transpose(2, 3, 1, 0), **({"b": biases[0]} if biases else {})}
    return y_of_images(layer, x, params)


def is_in_blocks(node: Node) -> bool:
    apart = node.attributes.get("strides") == node.attributes["kernel_shape"]
    return is_plain(node) and apart and not any(pads(node))


def pool(kind: type[MaxPool | MeanPool]) -> Callable[[Node], Array]:
    def play(node: Node) -> Array:
        rows, columns = node.attributes["kernel_shape"]
        return y_of_images(kind((rows, columns), ragged="drop"), node.inputs[0])

    return play


def global_pool(kind: type[MaxPool | MeanPool]) -> Callable[[Node], Array]:
    def play(node: Node) -> Array:
        [x] = node.inputs
        return y_of_images(kind((x.shape[2], x.shape[3])), x)

    return play


class Operator(NamedTuple):
    """How a layer plays an operator.

    cases: how many published cases there are at least that the layer can play.
    play: its Y, in ONNX's layout.
    fits: whether the layer can do what the case asks for.
    """

    cases: int
    play: Callable[[Node], Array]
    fits: Callable[[Node], bool] = lambda node: True


OPERATORS: dict[str, Operator] = {
    "AveragePool": Operator(1, pool(MeanPool), is_in_blocks),
    "Conv": Operator(5, convolution, is_convolution),
    "Dropout": Operator(8, dropout, lambda node: not is_training(node) or dropout_rate(node) == 0),
    "Elu": Operator(3, lambda node: y_of(ELU(node.attributes.get("alpha", 1.0)), node.inputs[0])),
    "Flatten": Operator(
        3, lambda node: y_of(Flatten(), node.inputs[0]), lambda node: axis(node, 1) == 1
    ),
    "Gemm": Operator(10, affine, is_affine),
    "GlobalAveragePool": Operator(2, global_pool(MeanPool)),
    "GlobalMaxPool": Operator(2, global_pool(MaxPool)),
    "LayerNormalization": Operator(
        7, layer_norm, lambda node: axis(node, -1) == node.inputs[0].ndim - 1
    ),
    "MaxPool": Operator(2, pool(MaxPool), is_in_blocks),
    "Relu": Operator(1, lambda node: y_of(ReLU(), node.inputs[0])),
    "Sigmoid": Operator(2, lambda node: y_of(Sigmoid(), node.inputs[0])),
    "Tanh": Operator(2, lambda node: y_of(Tanh(), node.inputs[0])),
}


def published() -> list[Node]:
    """The cases that our layers can play."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        # Making the cases of other operators overflows and divides by zero on purpose.
        warnings.simplefilter("ignore")
        cases = load_model_tests(kind="node")
    nodes = []
    for case in cases:
        if len(case.model.graph.node) != 1:
            continue
        [node] = case.model.graph.node
        [(inputs, outputs)] = case.data_sets
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        found = Node(case.name, node.op_type, attributes, inputs, outputs[0], case.rtol, case.atol)
        operator = OPERATORS.get(found.operator)
        if operator is not None and operator.fits(found):
            nodes.append(found)
    return nodes


NODES = published()


def test_no_published_case_has_gone_missing() -> None:
    found = Counter(node.operator for node in NODES)
    for name, operator in OPERATORS.items():
        assert found[name] >= operator.cases, name


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.name.removeprefix("test_"))
def test_a_layer_gives_what_onnx_publishes(node: Node) -> None:
    y = OPERATORS[node.operator].play(node)
    assert y.dtype == node.expected.dtype
    np.testing.assert_allclose(y, node.expected, rtol=node.rtol, atol=node.atol)
