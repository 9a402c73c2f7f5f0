"""``sumgrad describe``: a network layer by layer, as text and as JSON."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from sumgrad.trainer.cli.help import App
from sumgrad.trainer.cli.options import STUDY, Json, Overrides, SpecFile
from sumgrad.trainer.cli.output import Document, new_table, print_json, print_uncut

if TYPE_CHECKING:
    from sumgrad.layers.base.arrays import Shape
    from sumgrad.trainer.study.describe import NetworkDescription

app = App()


@app.command(rich_help_panel=STUDY)
def describe(
    spec: SpecFile,
    overrides: Overrides = None,
    input_shape: Annotated[
        str | None,
        typer.Option(metavar="480x640x3", help="A sample's shape; the data is then not looked at."),
    ] = None,
    json: Json = False,
) -> None:
    """Show a network layer by layer, without building it: shapes, parameters, work of a step.

    FLOP are floating-point operations of a whole batch; in the first layer with parameters they
    still count the feedback of its input, which training skips. Bytes are float32: every output
    of the batch, kept for the way back, all parameters read, and all gradients written.
    """
    from sumgrad.trainer.client import read_spec
    from sumgrad.trainer.spec.parse import parse
    from sumgrad.trainer.study import describe as study

    content = parse(read_spec(spec, None, tuple(overrides or ())))
    shape = None if input_shape is None else parse_shape(input_shape)
    found = study.describe(content, shape)
    if json:
        print_json(description_document(found))
    else:
        print_description(found)


def parse_shape(text: str) -> Shape:
    """``480x640x3`` as (480, 640, 3). Raises InvalidSpecError."""
    from sumgrad.layers.base.hyperparameters import LARGEST_COUNT
    from sumgrad.trainer.spec.violations import InvalidSpecError, Violation

    if re.fullmatch(r"\d{1,10}(x\d{1,10})*", text):
        shape = tuple(map(int, text.split("x")))
        if all(1 <= length <= LARGEST_COUNT for length in shape):
            return shape
    raise InvalidSpecError(
        [
            Violation(
                "--input-shape",
                f"must be whole numbers from 1 to {LARGEST_COUNT}, like 480x640x3, got {text!r}",
            )
        ]
    )


def description_document(found: NetworkDescription) -> Document:
    """The description as plain data; what needs data that was not read is null."""
    totals = ("parameters", "forward", "backward", "bytes")
    layers = [
        {"index": index, **asdict(layer), "size": layer.size}
        for index, layer in enumerate(found.layers)
    ]
    refused = [str(violation) for violation in found.refused]
    return {
        **asdict(found),
        "layers": layers,
        "refused": refused,
        **{total: getattr(found, total) for total in totals},
    }


def print_description(found: NetworkDescription) -> None:
    """One line a layer, then the totals, on stdout."""
    table = new_table()
    for heading in ("layer", "type", "output", "parameters"):
        table.add_column(heading, no_wrap=True)
    for heading in ("", "FLOP a step", "forward", "backward", "bytes a step"):
        table.add_column(heading, no_wrap=True, justify="right")
    table.add_row(
        "", "input", shape_text(found.input), "", "", "", "", "", si(found.input_bytes, "B")
    )
    for index, layer in enumerate(found.layers):
        table.add_row(
            str(index),
            layer.type,
            shape_text(layer.output),
            ", ".join(f"{name} {shape_text(shape)}" for name, shape in layer.parameters.items()),
            f"{layer.size:,}" if layer.size else "",
            si(layer.forward + layer.backward),
            si(layer.forward),
            si(layer.backward),
            si(layer.bytes, "B"),
        )
    table.add_row(
        "",
        "total",
        "",
        "",
        f"{found.parameters:,}",
        si(found.forward + found.backward),
        si(found.forward),
        si(found.backward),
        si(found.bytes, "B"),
    )
    print_uncut(table)
    print()
    for label, value in (
        ("loss", found.loss),
        ("batch size", f"{found.batch_size:,}"),
        ("shards", f"{found.shards:,}"),
        ("workers", f"{found.workers:,}"),
        ("steps per epoch", _known(found.steps_per_epoch)),
        ("steps of the run", _known(found.steps)),
    ):
        print(f"{label:<16} {value}")
    for violation in found.refused:
        print(f"a run would be refused: {violation}")


def shape_text(shape: Shape) -> str:
    """(480, 640, 3) as 480×640×3."""
    return "×".join(map(str, shape)) or "1"


def si(value: int, unit: str = "") -> str:
    """Three digits and a decimal prefix: 1,234,000 is 1.23 M."""
    if value < 1000:
        return f"{value} {unit}".rstrip()
    prefixes = "kMGTPEZYRQ"
    power = min(len(prefixes), (len(str(value)) - 1) // 3)
    if value / 1000**power >= 999.5 and power < len(prefixes):
        power += 1
    return f"{value / 1000**power:.3g} {prefixes[power - 1]}{unit}"


def _known(value: int | None) -> str:
    return "not known without the data" if value is None else f"{value:,}"
