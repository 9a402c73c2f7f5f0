"""From a document to a checked specification: the one validation, wherever it came from."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from sumgrad.layers import LAYERS, InvalidHyperparameterError
from sumgrad.trainer.arithmetic.schedules import SCHEDULES
from sumgrad.trainer.arithmetic.update_rules import UPDATE_RULES
from sumgrad.trainer.spec.pydantic_errors import from_pydantic
from sumgrad.trainer.spec.run_spec import RunSpec
from sumgrad.trainer.spec.violations import InvalidSpecError, Violation
from sumgrad.workers.datasets import DATASETS


def parse(document: Any) -> RunSpec:
    """Check everything that can be checked without data.

    Raises:
        InvalidSpecError: with every mistake that was found.
    """
    try:
        return RunSpec.model_validate(document)
    except ValidationError as error:
        names = {*LAYERS, *UPDATE_RULES, *SCHEDULES, *DATASETS, "rows", "full"}
        raise InvalidSpecError(from_pydantic(error, names)) from None
    except InvalidHyperparameterError as error:
        raise InvalidSpecError(Violation(*problem) for problem in error.problems) from None
