"""Options and arguments that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sumgrad.trainer.addresses import DEFAULT_ADDRESS
from sumgrad.trainer.errors import UsageError

RUNS, SERVICE, STUDY = "Runs", "Service", "Study"
"""Panels of the help."""

SpecFile = Annotated[Path, typer.Argument(help="A specification in TOML.", metavar="SPEC")]
Workers = Annotated[int | None, typer.Option(metavar="N", help="Instead of workers.count.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Another value for a field: train.batch_size=64. Repeatable.",
    ),
]
StartFrom = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="CHECKPOINT",
        help="Start with the weights of this file, or of the newest snapshot in this folder.",
    ),
]
Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label. Repeatable.")
]
Priority = Annotated[
    int, typer.Option(metavar="N", min=-(2**31), max=2**31 - 1, help="A higher one starts first.")
]
RequestId = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="The same id with the same submission gives the same run.  [default: new]",
    ),
]

RunId = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run's id, like r-1a2b3c4d5e6f7a8b, the beginning of one, or latest.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        envvar="SUMGRAD_ADDRESS",
        help=f"Where the service is.  [default: {DEFAULT_ADDRESS}]",
    ),
]
State = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        envvar="SUMGRAD_STATE",
        help="Folder of the run store and the weights.  [default: ~/.local/state/sumgrad]",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        envvar="SUMGRAD_CONFIG",
        help="Settings of the service in TOML.",
    ),
]


def parse_labels(given: list[str] | None) -> dict[str, str]:
    """``KEY=VALUE`` options as a dictionary. Raises UsageError."""
    found = {}
    for label in given or ():
        key, equals, value = label.partition("=")
        if not equals or not key:
            raise UsageError(f"--label must be KEY=VALUE, got {label!r}")
        found[key] = value
    return found


def submission(labels: list[str] | None, priority: int, request_id: str | None) -> dict[str, Any]:
    """The arguments of ``Client.submit`` beside the specification. Raises UsageError."""
    return {"labels": parse_labels(labels), "priority": priority, "request_id": request_id}
