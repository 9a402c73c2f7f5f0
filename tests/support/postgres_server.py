"""A Postgres server for tests: in a temporary folder, on a socket there, gone with the tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from itertools import count
from pathlib import Path
from types import TracebackType

import psycopg

SECONDS = 60.0


class PostgresServer:
    """A context manager.

    Args:
        programs: the folder of ``initdb`` and ``postgres``.
    """

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._numbers = count(1)

    def __enter__(self) -> PostgresServer:
        self._folder = Path(tempfile.mkdtemp(prefix="sumgrad-pg-"))
        if os.geteuid() == 0:
            shutil.chown(self._folder, "nobody")
        try:
            initialise = ["initdb", "--auth=trust", "--username=sumgrad", "--no-sync"]
            subprocess.run(
                self._command(*initialise, "--encoding=UTF8", "--locale=C", str(self._data)),
                check=True,
                capture_output=True,
                timeout=SECONDS,
            )
            self.start()
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        return self

    def start(self) -> None:
        """Start it, and wait until it answers."""
        # Its clients are killed in tests, it is not: what it has written need not reach the disk.
        options = ["-c", "listen_addresses=", "-c", "fsync=off", "-k", str(self._folder)]
        self._log = (self._folder / "log").open("a")
        self._process = subprocess.Popen(
            self._command("postgres", "-D", str(self._data), *options),
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        from support.waiting import eventually

        eventually(self._answers, SECONDS)

    def stop(self) -> None:
        """Stop it at once, whoever is connected."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(SECONDS)
        self._log.close()

    def new_store(self) -> str:
        """A URL at which there are no tables yet: that of a schema, which is made quickly."""
        name = f"test_{next(self._numbers)}"
        with self._connect() as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"postgresql://sumgrad@/postgres?host={self._folder}&options=-csearch_path%3D{name}"

    def disconnect(self) -> None:
        """End all connections to the server."""
        with self._connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = 'postgres' AND pid <> pg_backend_pid()"
            )

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=str(self._folder), user="sumgrad", dbname="postgres", autocommit=True
        )

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _command(self, program: str, *arguments: str) -> list[str]:
        """As somebody who is not root, which Postgres refuses to be; it ends when the tests do."""
        command = [str(self._programs / program), *arguments]
        become = ["--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        return ["setpriv", *(become if os.geteuid() == 0 else []), "--pdeathsig=INT", *command]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self._folder)
