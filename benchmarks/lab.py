"""A service as its user has it, in processes that can be killed, and what is seen of its runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sumgrad.trainer.client import Client, ClientError
from sumgrad.trainer.v1 import run_pb2

SUMGRAD = Path(sys.executable).with_name("sumgrad")
STOP_SECONDS = 60.0

Document = dict[str, Any]


class Lab:
    """`sumgrad serve` on a state folder of its own; it may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            **os.environ,
            "TMPDIR": str(folder),
            "SUMGRAD_STATE": str(folder / "state"),
        }
        self.start()

    def start(self) -> None:
        ports = ("--address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0")
        self._service = subprocess.Popen(
            [SUMGRAD, "serve", *ports], env=self._environment, stdout=subprocess.PIPE, text=True
        )
        assert self._service.stdout is not None
        for line in self._service.stdout:
            if line.startswith("gRPC"):
                self.address = line.split()[1]
            if line.startswith("ready"):
                return
        raise SystemExit("the service did not start")

    @property
    def pid(self) -> int:
        """The service's."""
        return self._service.pid

    def kill(self, name: str) -> bool:
        """SIGKILL to the process of this name that has lived longest; whether there is one."""
        pids = self.processes(name)
        if pids:
            os.kill(min(pids, key=_started), signal.SIGKILL)
        return bool(pids)

    def kill_service(self) -> None:
        self._service.kill()
        self._service.wait()

    def stop(self) -> None:
        self._service.terminate()
        self._service.wait(STOP_SECONDS)
        if left := self.processes(""):
            raise SystemExit(f"processes are left: {left}")

    def processes(self, name: str) -> list[int]:
        """Those that keep their files in the folder, by a pattern of their command line."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environment = (process / "environ").read_bytes()
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # it has just ended
                continue
            if f"TMPDIR={self._folder}".encode() in environment.split(b"\0") and re.search(
                name, line
            ):
                found.append(int(process.name))
        return found

    def journal(self, run_id: str) -> list[Document]:
        path = self._folder / "state" / "runs" / run_id / "faults.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]


def _started(pid: int) -> int:
    """Clock ticks between the machine's start and the process's."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except OSError:
        return sys.maxsize
    return int(after_name.split()[19])


@contextmanager
def lab() -> Iterator[Lab]:
    # A short name: a socket's path has 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="sg"))
    found = Lab(folder)
    try:
        yield found
    finally:
        found.stop()
        shutil.rmtree(folder)


@dataclass
class Course:
    """What was seen of a run.

    Attributes:
        ended: when its end was stored.
    """

    run: run_pb2.Run
    events: list[run_pb2.Event]
    journal: list[Document]

    @property
    def ended(self) -> float:
        return float(self.events[-1].time.ToNanoseconds()) * 1e-9

    @property
    def seconds(self) -> float:
        """From the first applied step, which is the first fault, to the end."""
        return self.ended - float(self.journal[0]["time"])


Happening = Callable[[run_pb2.Event], None]


def train(lab: Lab, document: Document, happening: Happening = lambda event: None) -> Course:
    """Train once; ``happening`` is called with each event as it comes.

    A service that is killed and started again meanwhile is found again.
    """
    events: list[run_pb2.Event] = []
    with Client(lab.address) as client:
        run_id = client.submit(document).id
    while True:
        address = lab.address
        with Client(address) as client:
            try:
                for response in client.watch(run_id):
                    if response.HasField("event"):
                        events.append(response.event)
                        happening(response.event)
                run = client.get(run_id)
                break
            except ClientError:
                if address == lab.address:
                    raise
    if run.state != run_pb2.RUN_STATE_SUCCEEDED:
        raise SystemExit(f"the run did not succeed: {run.message}")
    return Course(run, events, lab.journal(run_id))
