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
Workers = Annotated[int | None, typer.Option(help="Number of workers, instead of workers.count.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Another value for a field: train.batch_size=64. Repeatable."),
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
    int, typer.Option(min=-(2**31), max=2**31 - 1, help="A higher one starts first.")
]
RequestId = Annotated[
    str | None,
    typer.Option(help="The same id with the same submission gives the same run.  [default: new]"),
]

RunId = Annotated[str, typer.Argument(help="A run's id, like r-1a2b3c4d.", metavar="RUN")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Address = Annotated[
    str | None,
    typer.Option(
        envvar="SUMGRAD_ADDRESS", help=f"The service's host:port.  [default: {DEFAULT_ADDRESS}]"
    ),
]
State = Annotated[
    Path | None,
    typer.Option(
        envvar="SUMGRAD_STATE",
        help="Folder of the run store and the weights.  [default: ~/.local/state/sumgrad]",
    ),
]
StoreUrl = Annotated[
    str | None,
    typer.Option(
        envvar="SUMGRAD_STORE",
        metavar="URL",
        help="A Postgres for the run store, like postgresql://user@host/database; the password "
        "from PGPASSWORD, PGPASSFILE or SUMGRAD_STORE.  [default: a file in the state folder]",
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


def without_secret(context: typer.Context, store: str | None) -> str | None:
    """The store's URL, whose password everybody could read on the command line."""
    from sumgrad.trainer.service.store.database import has_password

    source = context.get_parameter_source("store")
    if store and has_password(store) and source is not None and source.name == "COMMANDLINE":
        raise UsageError(
            "--store must not hold a password, which others can see there; put it into PGPASSWORD "
            "or PGPASSFILE, or the whole URL into SUMGRAD_STORE"
        )
    return store or None
