"""A Ray on this machine that ends with the service, however the service ends.

``LocalRay`` starts this file as a keeper process. The keeper starts Ray's head and waits until
its standard input closes, which the kernel does even for a service that was killed; then it stops
the head and removes its folder. Ray's processes end with the head.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from sumgrad.trainer.service.cluster.ray_api import RayApi, RayError

START_SECONDS = 90.0
STOP_SECONDS = 5.0
"""The head has this long to shut down before its processes are killed."""

WATCH_SECONDS = 0.2
"""Between the keeper's checks whether the head still runs."""

NOT_INHERITED = ("RAY_", "PG", "SUMGRAD_STORE", "SUMGRAD_TOKEN")
"""Prefixes of environment variables that Ray does not inherit: the settings of other Rays, the run
store's address, and a user's token."""

PR_SET_CHILD_SUBREAPER = 36

OBJECT_STORE_BYTES = 80 * 2**20
"""Ray's minimum; the workers' vectors bypass the object store."""


class LocalRay:
    """One head node on this machine, which only this service's user can call.

    Args:
        cores: CPUs that Ray gives out.

    Attributes:
        python: this process's own.
        dashboard: URL of the job API, once started.
        headers: HTTP headers that authorize calls of the job API.
    """

    python = sys.executable

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._keeper: subprocess.Popen[str] | None = None
        self.dashboard = ""
        token = secrets.token_hex(32)
        self.headers = {"Authorization": f"Bearer {token}"}
        self._environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": token,
            "RAY_USAGE_STATS_ENABLED": "0",
            # Ray would run workers at niceness 15, behind everything else on the machine.
            "RAY_worker_niceness": "0",
        }

    def start(self) -> None:
        """Start Ray and wait until it takes jobs.

        Raises:
            RayError: it did not start.
        """
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(NOT_INHERITED)}
        self._keeper = subprocess.Popen(
            [sys.executable, "-m", "sumgrad.trainer.service.cluster.local_ray", str(self._cores)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=inherited | self._environment,
            text=True,
            # Ctrl-C in the terminal must reach the command alone, which then stops Ray.
            start_new_session=True,
        )
        assert self._keeper.stdout is not None
        line = self._keeper.stdout.readline()
        answer = json.loads(line) if line else {"error": "its keeper process died"}
        if "error" in answer:
            self.stop()
            raise RayError(f"Ray did not start: {answer['error']}")
        self.dashboard = answer["dashboard"]

    def alive(self) -> bool:
        """Whether it was started and its head runs."""
        return self._keeper is not None and self._keeper.poll() is None

    def cpus(self) -> tuple[float, ...]:
        """CPUs of its one node."""
        return (float(self._cores),)

    def stop(self) -> None:
        """Stop Ray; returns when its processes are gone."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        keeper.stdin.close()
        try:
            keeper.wait(4 * STOP_SECONDS)
        except subprocess.TimeoutExpired:
            keeper.kill()
            keeper.wait()
        keeper.stdout.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def keep(cores: int) -> None:
    """The keeper process: run a head node until standard input closes."""
    # Processes that outlive their parent below Ray become children of this one, and end with it.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    folder = Path(tempfile.mkdtemp(prefix="sumgrad-ray-"))
    dashboard_port = free_port()
    with (folder / "head.log").open("w") as log:
        head = subprocess.Popen(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
                *("--port=0", "--dashboard-agent-listen-port=0"),
                *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard_port}"),
                *("--min-worker-port=0", "--max-worker-port=0"),
                f"--ray-client-server-port={free_port()}",
                f"--num-cpus={cores}",
                f"--object-store-memory={OBJECT_STORE_BYTES}",
                # Ray makes this folder accessible to all; the one above it is the user's alone.
                f"--temp-dir={folder / 'r'}",
                *("--disable-usage-stats", "--include-log-monitor=false"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        dashboard = f"http://127.0.0.1:{dashboard_port}"
        error = _wait_for_jobs(head, dashboard, folder / "head.log")
        print(json.dumps({"error": error} if error else {"dashboard": dashboard}), flush=True)
        while not error and head.poll() is None:
            if select.select([sys.stdin], [], [], WATCH_SECONDS)[0]:
                break
    finally:
        head.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            head.wait(STOP_SECONDS)
        _end_children()
        shutil.rmtree(folder, ignore_errors=True)


def _end_children() -> None:
    """Kill the children of this process, and those that it inherits, until none is left."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while pids := [int(pid) for pid in children.read_text().split()]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _wait_for_jobs(head: subprocess.Popen[bytes], dashboard: str, log: Path) -> str | None:
    """Wait until jobs can be submitted; return what went wrong, or None."""
    headers = {"Authorization": f"Bearer {os.environ['RAY_AUTH_TOKEN']}"}
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if head.poll() is not None:
            return f"ray start exited with {head.returncode}: {log.read_text()[-500:].strip()}"
        try:
            RayApi(dashboard, headers).status("none")
        except RayError:
            # The service is gone when its end of the pipe is closed.
            if select.select([sys.stdin], [], [], 0.05)[0]:
                return "the service ended before Ray had started"
        else:
            return None
    return f"it took no jobs within {START_SECONDS:.0f} s"


def _stop(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    keep(int(sys.argv[1]))
