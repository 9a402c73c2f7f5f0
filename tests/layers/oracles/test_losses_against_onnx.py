"""Cross-entropy against the cases that ONNX publishes for SoftmaxCrossEntropyLoss."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from onnx import NodeProto, helper
from onnx.backend.test.case.node import softmax_cross_entropy_loss as published

from sumgrad.layers.losses import CrossEntropy

from support.gradient_check import Array


class Case(NamedTuple):
    reduction: str
    s: Array
    y: Array
    outputs: list[Array]


def cases() -> dict[str, Case]:
    """The cases of one score a class and row; no weights, no rows to be ignored."""
    found = {}

    def collect(
        node: NodeProto, inputs: list[Array], outputs: list[Array], name: str, **rest: Any
    ) -> None:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if len(inputs) == 2 and inputs[0].ndim == 2 and "ignore_index" not in attributes:
            reduction = attributes.get("reduction", b"mean").decode()
            found[name] = Case(reduction, *inputs, list(outputs))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published, "expect", collect)
        for name, export in vars(published.SoftmaxCrossEntropyLoss).items():
            if name.startswith("export"):
                np.random.seed(0)
                export()
    return found


CASES = cases()

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def test_there_is_a_case_of_every_reduction() -> None:
    assert {case.reduction for case in CASES.values()} == {"sum", "mean", "none"}


@every_case
def test_the_loss_is_the_published_one(case: Case) -> None:
    if case.reduction == "none":
        rows = [slice(i, i + 1) for i in range(len(case.s))]
        losses = [CrossEntropy().forward(case.s[row], case.y[row])[0] for row in rows]
        np.testing.assert_allclose(losses, case.outputs[0], rtol=1e-6)
    else:
        total, _ = CrossEntropy().forward(case.s, case.y)
        divisor = len(case.s) if case.reduction == "mean" else 1
        assert total / divisor == pytest.approx(float(case.outputs[0]), rel=1e-6)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if len(case.outputs) == 2])
def test_the_feedback_follows_from_the_published_probabilities(name: str) -> None:
    case = CASES[name]
    _, ds = CrossEntropy().forward(case.s, case.y)
    expected = np.exp(case.outputs[1]) - np.eye(case.s.shape[1])[case.y]
    np.testing.assert_allclose(ds, expected, rtol=1e-5, atol=1e-6)
