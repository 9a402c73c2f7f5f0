"""``sumgrad token``: make, list and revoke tokens, in the run store itself."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sumgrad.trainer.cli.help import App
from sumgrad.trainer.cli.options import SERVICE, Config, Json, State
from sumgrad.trainer.cli.output import new_table, print_json, print_uncut, say
from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.service.access.caller import Role
from sumgrad.trainer.service.access.tokens import StoredToken, new_token

if TYPE_CHECKING:
    from sumgrad.trainer.service.access.token_store import TokenStore

StoreUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The Postgres of the service, or SUMGRAD_STORE.  [default: a file in the state "
        "folder]",
    ),
]

_SECONDS = {"m": 60, "h": 3600, "d": 86400}
_LONGEST_DAYS = 3650

app = App(name="token", no_args_is_help=True)


@app.callback(rich_help_panel=SERVICE)
def token() -> None:
    """Make, list and revoke tokens, in the run store; no service has to run."""


@app.command()
def create(
    user: Annotated[
        str, typer.Option(metavar="NAME", help="Whose token it is; the owner of what it submits.")
    ],
    role: Annotated[Role, typer.Option(help="What it may do.")],
    expires: Annotated[
        str | None, typer.Option(metavar="30d", help="Days, hours (12h) or minutes (45m) it lasts.")
    ] = None,
    state: State = None,
    store: StoreUrl = None,
    config: Config = None,
) -> None:
    """Print a new token, once; only a hash of it is kept."""
    text, stored = new_token(user, role, _now(), _lifetime(expires))
    with _tokens(state, store, config) as tokens:
        tokens.add(stored)
    print(text)
    until = "never expires" if stored.expires is None else f"expires {_time(stored.expires)}"
    say(f"token {stored.id} of {user} ({role.value}) {until}")


@app.command("list")
def list_tokens(
    state: State = None,
    store: StoreUrl = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """List all tokens, oldest first, without their secrets."""
    with _tokens(state, store, config) as tokens:
        rows = [_document(token) for token in tokens.list()]
    if json:
        print_json(rows)
        return
    table = new_table()
    for name in ("id", "user", "role", "state", "created", "expires"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        fields = (row[name] for name in ("id", "user", "role", "state", "created", "expires"))
        table.add_row(*(field or "never" for field in fields))
    print_uncut(table)


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="A token's id, not its secret.")],
    state: State = None,
    store: StoreUrl = None,
    config: Config = None,
) -> None:
    """End a token; services refuse it within two seconds."""
    with _tokens(state, store, config) as tokens:
        if not tokens.revoke(token_id, _now()):
            # Not repeated: it may be a whole token, pasted by mistake.
            raise UsageError("there is no token of this id; `sumgrad token list` shows all")
    say(f"token {token_id} is revoked")


@contextlib.contextmanager
def _tokens(state: Path | None, store: str | None, config: Path | None) -> Iterator[TokenStore]:
    """The tokens in the store of the service that would start with these options."""
    from sumgrad.trainer.service.access.token_store import TokenStore
    from sumgrad.trainer.service.settings_sources import read_settings
    from sumgrad.trainer.service.store.database import Database

    given = {name: value for name, value in (("state", state), ("store", store)) if value}
    database = Database(read_settings(given, config, os.environ).place)
    try:
        yield TokenStore(database)
    finally:
        database.close()


def _lifetime(text: str | None) -> int | None:
    """Microseconds."""
    if text is None:
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,6})([mhd])", text, re.ASCII)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not 0 < seconds <= _LONGEST_DAYS * _SECONDS["d"]:
        raise UsageError(
            f"--expires must be like 30d, 12h or 45m, at most {_LONGEST_DAYS}d, got {text!r}"
        )
    return seconds * 1_000_000


def _document(token: StoredToken) -> dict[str, Any]:
    ended = "expired" if token.has_expired(_now()) else "valid"
    return {
        "id": token.id,
        "user": token.user,
        "role": token.role.value,
        "state": ended if token.revoked is None else "revoked",
        "created": _time(token.created),
        "expires": None if token.expires is None else _time(token.expires),
        "revoked": None if token.revoked is None else _time(token.revoked),
    }


def _now() -> int:
    return time.time_ns() // 1000


def _time(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
