"""The command line as processes, with all that they leave looked at."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sumgrad.trainer.cli.exit_codes import ExitCode
from sumgrad.trainer.service.store.run_store import RunStore
from sumgrad.trainer.v1 import run_pb2

SUMGRAD = Path(sys.executable).with_name("sumgrad")


SECONDS = 60.0
"""Bound of every wait but those that are given a longer one."""


class Lines:
    """The lines of a pipe, read as they come."""

    def __init__(self, pipe: IO[str]) -> None:
        self._pipe = pipe
        self._arrived: queue.Queue[str | None] = queue.Queue()
        self.seen: list[str] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for line in self._pipe:
            self._arrived.put(line.rstrip("\n"))
        self._arrived.put(None)

    def wait_for(self, start: str) -> str:
        """The next line that starts so."""
        while True:
            line = self._arrived.get(timeout=SECONDS)
            assert line is not None, f"no line starts with {start!r}: {self.seen}"
            self.seen.append(line)
            if line.startswith(start):
                return line

    def rest(self) -> list[str]:
        """Every line, once the pipe is closed."""
        self._thread.join(SECONDS)
        assert not self._thread.is_alive(), "the pipe is still open"
        while not self._arrived.empty():
            self.seen += filter(None, [self._arrived.get()])
        return self.seen


class Command:
    """A ``sumgrad`` process."""

    def __init__(self, *arguments: str, temporary: Path) -> None:
        self._process = subprocess.Popen(
            [SUMGRAD, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=temporary,
            env={**os.environ, "TMPDIR": str(temporary), "SUMGRAD_STATE": str(temporary / "state")},
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.out = Lines(self._process.stdout)
        self.err = Lines(self._process.stderr)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self, seconds: float = SECONDS) -> int:
        """Its exit code, once it has ended by itself. No command ever shows a traceback."""
        code = self._process.wait(seconds)
        self.out.rest()
        self.err.rest()
        self._process.stdout.close()  # type: ignore[union-attr]
        self._process.stderr.close()  # type: ignore[union-attr]
        assert "Traceback" not in "\n".join(self.err.seen + self.out.seen)
        return code

    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads("\n".join(self.out.rest()))

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self.end()


@contextmanager
def running(*arguments: str, temporary: Path) -> Iterator[Command]:
    command = Command(*arguments, temporary=temporary)
    try:
        yield command
    finally:
        command.stop()


def processes(temporary: Path) -> dict[int, str]:
    """Command lines of the processes that keep their files in this folder, zombies aside."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            line = (process / "cmdline").read_bytes()
        except OSError:  # it has just ended
            continue
        if f"TMPDIR={temporary}".encode() in environment.split(b"\0"):
            found[int(process.name)] = line.replace(b"\0", b" ").decode()
    return found


def nothing_is_left(temporary: Path) -> bool:
    """Whether no process and no folder of a Ray is there any more."""
    return not processes(temporary) and not any(temporary.glob("sumgrad-ray-*"))


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose name leaves room for Ray's: a socket's path has 107 bytes at most."""
    folder = Path(tempfile.mkdtemp(prefix="sg", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


class Serve:
    """``sumgrad serve``, which may be stopped and started again on the same state."""

    def __init__(self, temporary: Path) -> None:
        self.temporary = temporary
        self._commands: list[Command] = []
        self.start()

    def start(self) -> None:
        loopback = ("--address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0")
        self._command = Command("serve", *loopback, temporary=self.temporary)
        self.address = self._command.out.wait_for("gRPC").split()[1]
        self._metrics = self._command.out.wait_for("metrics").split()[1]

    def ready(self) -> None:
        self._command.out.wait_for("ready")

    def terminate(self) -> int:
        self._command.signal(signal.SIGTERM)
        return self._command.end()

    def kill(self) -> None:
        self._command.signal(signal.SIGKILL)
        assert self._command.end() == -signal.SIGKILL

    def close(self) -> None:
        """End what a failed test may have left."""
        for command in (*self._commands, self._command):
            command.stop()

    def metrics(self) -> str:
        with urllib.request.urlopen(self._metrics, timeout=SECONDS) as response:
            content: bytes = response.read()
            return content.decode()

    def command(self, *arguments: str) -> Command:
        command = Command(*arguments, "--address", self.address, temporary=self.temporary)
        self._commands.append(command)
        return command

    def json(self, *arguments: str, seconds: float = SECONDS) -> Any:
        """What a command that succeeds prints with --json."""
        command = self.command(*arguments, "--json")
        assert command.end(seconds) == ExitCode.OK, command.err.seen
        return command.document()


def events(temporary: Path, run_id: str) -> list[run_pb2.Event]:
    store = RunStore(temporary / "state" / "runs.db")
    try:
        return store.events(run_id, 0, 10_000)
    finally:
        store.close()
