"""``sumgrad gradcheck``: every derivative of a network against differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sumgrad.trainer.cli.exit_codes import ExitCode
from sumgrad.trainer.cli.help import App
from sumgrad.trainer.cli.options import STUDY, Json, Overrides, SpecFile
from sumgrad.trainer.cli.output import Document, finite, new_table, print_json, print_uncut
from sumgrad.trainer.cli.verbs.describe import shape_text

if TYPE_CHECKING:
    from sumgrad.trainer.spec.run_spec import RunSpec
    from sumgrad.trainer.study.gradcheck import GradientReport

app = App()


@app.command(rich_help_panel=STUDY)
def gradcheck(
    spec: SpecFile,
    overrides: Overrides = None,
    rows: Annotated[int, typer.Option(metavar="N", min=1, help="Samples of a batch.")] = 4,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Instead of the specification's seed."),
    ] = None,
    json: Json = False,
) -> None:
    """Check every derivative of a network against differences, in float64 on random inputs.

    The exit code is 1 if a relative error is above 1e-6. The data is described, not loaded.
    """
    from sumgrad.trainer.client import read_spec
    from sumgrad.trainer.spec.parse import parse
    from sumgrad.trainer.study.gradcheck import check_spec

    content = parse(read_spec(spec, None, tuple(overrides or ())))
    report = check_spec(content, rows, content.seed if seed is None else seed)
    if json:
        print_json(report_document(content, report))
    else:
        print_report(content, report)
    raise typer.Exit(ExitCode.OK if report.passed else ExitCode.CHECK_FAILED)


def report_document(spec: RunSpec, report: GradientReport) -> Document:
    """The report as plain data; an error that is not finite is null."""
    from sumgrad.layers.derivatives.gradient_check import TOLERANCE

    return {
        "name": spec.name,
        "layers": [
            {
                "index": index,
                "type": kind,
                "output": list(layer.output),
                "x": finite(layer.x),
                "params": {name: finite(error) for name, error in layer.params.items()},
            }
            for index, (kind, layer) in enumerate(zip(spec.layer_types, report.layers, strict=True))
        ],
        "loss": {"type": spec.model.loss, "s": finite(report.loss)},
        "network": None if report.network is None else finite(report.network),
        "worst": finite(report.worst),
        "tolerance": TOLERANCE,
        "passed": report.passed,
    }


def print_report(spec: RunSpec, report: GradientReport) -> None:
    """One line a layer, one for the loss, one for the network, and the verdict, on stdout."""
    from sumgrad.layers.derivatives.gradient_check import TOLERANCE

    table = new_table()
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
    from sumgrad.layers.derivatives.gradient_check import TOLERANCE

    return "  ".join(
        f"{name} {error:.1e}{'' if error <= TOLERANCE else '!'}" for name, error in errors.items()
    )
