"""Losses against PyTorch's, by its automatic differentiation, on random shapes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from sumgrad.layers import LOSSES, Loss
from sumgrad.layers.base.arrays import Shape

from support.gradient_check import KINK_DISTANCE, Array

Reference = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

CLASS_LOSSES: dict[str, Reference] = {
    "cross_entropy": lambda s, y: functional.cross_entropy(s, y, reduction="sum"),
    # PyTorch divides by the number of classes.
    "svm": lambda s, y: s.shape[1] * functional.multi_margin_loss(s, y, reduction="sum"),
}

ELEMENT_LOSSES: dict[str, Reference] = {
    "squared_error": lambda s, y: functional.mse_loss(s, y, reduction="sum"),
    "reconstruction": lambda s, y: functional.mse_loss(s, y.reshape(s.shape), reduction="sum"),
    "logistic": lambda s, y: functional.binary_cross_entropy_with_logits(s, y, reduction="sum"),
    "signed_logistic": lambda s, y: functional.soft_margin_loss(s, y, reduction="sum"),
}

TOLERANCES = {np.float32: 1e-5, np.float64: 1e-12}

ROWS = st.integers(1, 9)
SEEDS = st.integers(0, 2**32)
DTYPES = st.sampled_from([np.float32, np.float64])
SCALES = st.sampled_from([0.1, 1.0, 10.0])

bounded = settings(deadline=None, max_examples=60)


def assert_same(loss: Loss, reference: Reference, s: Array, y: Array) -> None:
    scores = torch.tensor(s, requires_grad=True)
    expected = reference(scores, torch.tensor(y))
    [feedback] = torch.autograd.grad(expected, scores)
    total, ds = loss.forward(s, y)
    tolerance = TOLERANCES[s.dtype.type]
    assert total == pytest.approx(expected.item(), rel=tolerance, abs=tolerance * s.size)
    np.testing.assert_allclose(ds, feedback.numpy(), rtol=tolerance, atol=tolerance)


def test_every_loss_has_its_counterpart() -> None:
    assert CLASS_LOSSES.keys() | ELEMENT_LOSSES.keys() == LOSSES.keys()


@pytest.mark.parametrize("name", CLASS_LOSSES)
@bounded
@given(ROWS, st.integers(1, 12), SEEDS, DTYPES, SCALES)
def test_losses_of_classes_are_those_of_torch(
    name: str, rows: int, classes: int, seed: int, dtype: type, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    s = (scale * rng.standard_normal((rows, classes))).astype(dtype)
    y = rng.integers(0, classes, rows)
    if name == "svm":
        assume(np.abs(s - s[np.arange(rows), y][:, np.newaxis] + 1).min() > KINK_DISTANCE)
    assert_same(LOSSES[name](), CLASS_LOSSES[name], s, y)


@pytest.mark.slow
@pytest.mark.parametrize("name", ELEMENT_LOSSES)
@bounded
@given(ROWS, st.lists(st.integers(1, 4), min_size=1, max_size=3), SEEDS, DTYPES, SCALES)
def test_losses_of_elements_are_those_of_torch(
    name: str, rows: int, shape: list[int], seed: int, dtype: type, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    s = (scale * rng.standard_normal((rows, *shape))).astype(dtype)
    y = element_targets(name, rng, (rows, *shape)).astype(dtype)
    assert_same(LOSSES[name](), ELEMENT_LOSSES[name], s, y)


def element_targets(name: str, rng: np.random.Generator, shape: Shape) -> Array:
    match name:
        case "logistic":
            return rng.random(shape)
        case "signed_logistic":
            return rng.choice([-1.0, 1.0], shape)
        case "reconstruction":
            return rng.standard_normal((shape[0], int(np.prod(shape[1:]))))
    return rng.standard_normal(shape)
