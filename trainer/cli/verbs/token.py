"""``sumgrad token``: make, list and revoke tokens, in the run store itself."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sumgrad.trainer.cli.options import SERVICE, Json, State, StoreUrl, without_secret
from sumgrad.trainer.cli.output import new_table, print_json, print_uncut, say
from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.host import state_directory
from sumgrad.trainer.service.access.caller import Role
from sumgrad.trainer.service.access.tokens import StoredToken, new_token
from sumgrad.trainer.service.settings import Settings

if TYPE_CHECKING:
    from sumgrad.trainer.service.access.token_store import TokenStore

_SECONDS = {"m": 60, "h": 3600, "d": 86400}
_LONGEST_DAYS = 3650

app = typer.Typer(name="token", no_args_is_help=True)


@app.callback(rich_help_panel=SERVICE)
def token() -> None:
    """Make, list and revoke tokens, in the run store; no service has to run."""


@app.command()
def create(
    context: typer.Context,
    user: Annotated[str, typer.Option(help="Whose token it is; the owner of what it submits.")],
    role: Annotated[Role, typer.Option(help="What it may do.")],
    expires: Annotated[
        str | None, typer.Option(metavar="30d", help="Days, hours (12h) or minutes (45m) it lasts.")
    ] = None,
    state: State = None,
    store: StoreUrl = None,
) -> None:
    """Print a new token, once; only a hash of it is kept."""
    text, stored = new_token(user, role, _now(), _lifetime(expires))
    with _tokens(context, state, store) as tokens:
        tokens.add(stored)
    print(text)
    until = "never expires" if stored.expires is None else f"expires {_time(stored.expires)}"
    say(f"token {stored.id} of {user} ({role.value}) {until}")


@app.command("list")
def list_tokens(
    context: typer.Context,
    state: State = None,
    store: StoreUrl = None,
    json: Json = False,
) -> None:
    """List all tokens, oldest first, without their secrets."""
    with _tokens(context, state, store) as tokens:
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
    context: typer.Context,
    token_id: Annotated[str, typer.Argument(metavar="ID", help="A token's id, not its secret.")],
    state: State = None,
    store: StoreUrl = None,
) -> None:
    """End a token; services refuse it within two seconds."""
    with _tokens(context, state, store) as tokens:
        if not tokens.revoke(token_id, _now()):
            # Not repeated: it may be a whole token, pasted by mistake.
            raise UsageError("there is no token of this id; `sumgrad token list` shows all")
    say(f"token {token_id} is revoked")


@contextlib.contextmanager
def _tokens(context: typer.Context, state: Path | None, store: str | None) -> Iterator[TokenStore]:
    from sumgrad.trainer.service.access.token_store import TokenStore
    from sumgrad.trainer.service.store.database import Database

    settings = Settings(state or state_directory(), store=without_secret(context, store))
    database = Database(settings.place)
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
