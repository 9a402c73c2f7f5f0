"""Calls of one gRPC method by as many callers as wanted, with nghttp2's h2load.

A load generator in Python takes as much of the processor as the service does. h2load knows HTTP/2
and no gRPC: which status a call ended with is told by the service's own counters.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

CONNECTIONS = 4

OK = 200


class Answer(NamedTuple):
    """To one call.

    Attributes:
        start: seconds since the epoch.
        status: of HTTP, which is 200 whatever gRPC's is; −1 where the stream was reset.
        seconds: until the answer's end.
    """

    start: float
    status: int
    seconds: float


def require() -> None:
    """
    Raises:
        SystemExit: h2load is not here.
    """
    if shutil.which("h2load") is None:
        raise SystemExit("h2load is missing; install it: apt install nghttp2-client")


@contextmanager
def calling(
    address: str, method: str, message: bytes, callers: int, seconds: int, folder: Path
) -> Iterator[None]:
    """So many call, each again when it has its answer, until the end of the block.

    Args:
        callers: a multiple of CONNECTIONS.
        method: like ``/sumgrad.trainer.v1.TrainerService/GetRun``.
        seconds: the block must be over within them.
        folder: where the calls are kept, for ``answers``.

    Raises:
        SystemExit: h2load failed, or ended before the block.
    """
    body = folder / "message"
    body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    log = folder / "calls"
    log.unlink(missing_ok=True)
    command = [
        "h2load",
        f"--clients={CONNECTIONS}",
        f"--max-concurrent-streams={callers // CONNECTIONS}",
    ]
    command += ["--threads=1", f"--duration={seconds}", f"--data={body}", f"--log-file={log}"]
    command += ["--header=content-type: application/grpc", "--header=te: trailers"]
    with subprocess.Popen(
        [*command, f"http://{address}{method}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield
            if process.poll() is not None:
                raise SystemExit(f"h2load ended too soon:\n{process.communicate()[0]}")
            output, _ = process.communicate(timeout=seconds + 30)
            if process.returncode:
                raise SystemExit(f"h2load failed:\n{output}")
        finally:
            process.kill()


def answers(folder: Path) -> list[Answer]:
    """What every caller got."""
    rows = (line.split() for line in (folder / "calls").read_text().splitlines())
    return [
        Answer(int(start) * 1e-6, int(status), int(took) * 1e-6) for start, status, took in rows
    ]
