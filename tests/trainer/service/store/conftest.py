"""Places where a test can have a run store, of both kinds."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.postgres_server import PostgresServer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "runs.db"


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, path: Path) -> Path | str:
    if request.param == "sqlite":
        return path
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_store()
