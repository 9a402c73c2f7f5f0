"""The options that name the run store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sumgrad.trainer.errors import UsageError

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
