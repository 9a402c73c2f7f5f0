"""Update rules, clipping and weight decay against PyTorch's optimizers, in float32.

The gradients are handed to the server's own reduction as summed gradients of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

from sumgrad.trainer.arithmetic import reduction
from sumgrad.trainer.arithmetic.reduction import Reduction
from sumgrad.trainer.arithmetic.update_rules import (
    SGD,
    UPDATE_RULES,
    Adagrad,
    Adam,
    AdamW,
    Descent,
    Momentum,
    Nesterov,
    RMSProp,
    UpdateRule,
)

from support.gradient_check import Array

torch = pytest.importorskip("torch")

STEPS = 50
SIZE = 500
ROWS = 48
RATE = 0.02


class Case(NamedTuple):
    """A rule with PyTorch's defaults, and what makes the optimizer that it should equal."""

    rule: UpdateRule
    optimizer: Callable[..., Any]


CASES = [
    Case(SGD(RATE), lambda *w, **o: torch.optim.SGD(*w, lr=RATE, **o)),
    Case(Momentum(RATE), lambda *w, **o: torch.optim.SGD(*w, lr=RATE, momentum=0.9, **o)),
    Case(
        Nesterov(RATE),
        lambda *w, **o: torch.optim.SGD(*w, lr=RATE, momentum=0.9, nesterov=True, **o),
    ),
    Case(Adagrad(RATE), lambda *w, **o: torch.optim.Adagrad(*w, lr=RATE, **o)),
    Case(RMSProp(RATE), lambda *w, **o: torch.optim.RMSprop(*w, lr=RATE, **o)),
    Case(Adam(RATE), lambda *w, **o: torch.optim.Adam(*w, lr=RATE, **o)),
    Case(AdamW(RATE), lambda *w, **o: torch.optim.AdamW(*w, lr=RATE, **o)),
]


@dataclass(frozen=True)
class Treatment:
    """What happens to a gradient before its update."""

    weight_decay: float = 0.0
    clip_value: float | None = None
    clip_norm: float | None = None


TREATMENTS = [
    Treatment(),
    Treatment(weight_decay=0.05),
    Treatment(clip_value=0.7),
    Treatment(clip_norm=20.0),
    Treatment(clip_norm=20.0, clip_value=0.9, weight_decay=0.05),
]


@pytest.fixture(autouse=True)
def _many_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(reduction, "BLOCK", 64)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_every_rule_of_the_table_has_an_optimizer() -> None:
    assert {type(case.rule) for case in CASES} == set(UPDATE_RULES.values())


def averages() -> list[Array]:
    """A gradient for every step; about half of them are longer than the norm that is allowed."""
    rng = np.random.default_rng(3)
    return [
        (rng.standard_normal(SIZE) * rng.uniform(0.5, 1.3)).astype(np.float32) for _ in range(STEPS)
    ]


# PyTorch's AdamW has no weight decay besides its own.
PAIRS = [
    pytest.param(case, treatment, id=f"{case.rule}-{treatment}")
    for case in CASES
    for treatment in TREATMENTS
    if not (isinstance(case.rule, AdamW) and treatment.weight_decay)
]


@pytest.mark.slow
@pytest.mark.parametrize(("case", "treatment"), PAIRS)
def test_the_weights_are_those_of_pytorch(case: Case, treatment: Treatment) -> None:
    descent = Descent(case.rule, treatment.weight_decay, treatment.clip_value, treatment.clip_norm)
    weights = np.random.default_rng(4).standard_normal(SIZE).astype(np.float32)
    state = case.rule.init(SIZE)

    parameter = torch.nn.Parameter(torch.tensor(weights))
    options = {"weight_decay": treatment.weight_decay} if treatment.weight_decay else {}
    optimizer = case.optimizer([parameter], **options)

    arithmetic = Reduction(SIZE)
    for step, average in enumerate(averages(), 1):
        total = average * np.float32(ROWS)
        arithmetic.apply(descent, weights, total, ROWS, state, RATE, step)

        parameter.grad = torch.tensor(average)
        if treatment.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_([parameter], treatment.clip_norm)
        if treatment.clip_value is not None:
            torch.nn.utils.clip_grad_value_([parameter], treatment.clip_value)
        optimizer.step()
        np.testing.assert_allclose(weights, parameter.detach(), rtol=2e-6, atol=2e-6)
    arithmetic.close()
