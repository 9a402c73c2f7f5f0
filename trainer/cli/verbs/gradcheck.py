"""A gradient check's report as text and as JSON."""

from __future__ import annotations

import math

from rich.table import Table

from sumgrad.layers.derivatives.gradient_check import TOLERANCE
from sumgrad.trainer.cli.verbs.describe import shape_text
from sumgrad.trainer.cli.verbs.show import Document, print_uncut
from sumgrad.trainer.spec.run_spec import RunSpec
from sumgrad.trainer.study.gradcheck import GradientReport


def report_document(spec: RunSpec, report: GradientReport) -> Document:
    """The report as plain data; an error that is not finite is null."""
    return {
        "name": spec.name,
        "layers": [
            {
                "index": index,
                "type": kind,
                "output": list(layer.output),
                "x": _finite(layer.x),
                "params": {name: _finite(error) for name, error in layer.params.items()},
            }
            for index, (kind, layer) in enumerate(zip(spec.layer_types, report.layers, strict=True))
        ],
        "loss": {"type": spec.model.loss, "s": _finite(report.loss)},
        "network": None if report.network is None else _finite(report.network),
        "worst": _finite(report.worst),
        "tolerance": TOLERANCE,
        "passed": report.passed,
    }


def print_report(spec: RunSpec, report: GradientReport) -> None:
    """One line a layer, one for the loss, one for the network, and the verdict, on stdout."""
    table = Table(box=None, pad_edge=False)
    for heading in ("layer", "type", "output", "worst relative error"):
        table.add_column(heading, no_wrap=True)
    for index, (kind, layer) in enumerate(zip(spec.layer_types, report.layers, strict=True)):
        errors = {"δX": layer.x, **{f"d{name}": error for name, error in layer.params.items()}}
        table.add_row(str(index), kind, shape_text(layer.output), _errors(errors))
    table.add_row("loss", spec.model.loss, "", _errors({"δS": report.loss}))
    if report.network is not None:
        table.add_row("network", "", "", _errors({"dθ": report.network}))
    print_uncut(table)
    print()
    if report.passed:
        print(f"all right: no relative error is above {TOLERANCE:.0e}")
    else:
        print(f"wrong: a relative error is above {TOLERANCE:.0e}, marked with !")


def _errors(errors: dict[str, float]) -> str:
    return "  ".join(
        f"{name} {error:.1e}{'' if error <= TOLERANCE else '!'}" for name, error in errors.items()
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
