"""In the place of a service: a run that a command sees through by itself."""

from __future__ import annotations

import contextlib
import fcntl
import queue
from collections.abc import Iterator
from pathlib import Path

from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.record import history
from sumgrad.trainer.record.events import from_report, state_event
from sumgrad.trainer.record.log_file import LogFile
from sumgrad.trainer.runner.upstream.outbox import Outbox
from sumgrad.trainer.spec.messages import to_message
from sumgrad.trainer.spec.run_spec import RunSpec
from sumgrad.trainer.v1 import run_pb2, runner_pb2, service_pb2


class LocalUpstream:
    """The runner's end, and the command's.

    Each worker reserves a whole CPU; workers beyond the cluster's CPUs wait for one.

    Args:
        output: the run's folder; an interrupted run goes on from what it left there.

    Attributes:
        run: the run as it is now.
        log: the run's log lines, which go to ``log.jsonl`` in the folder.
        responses: what is to be shown, for another thread; None after the last.
    """

    attempt = 1

    def __init__(self, spec: RunSpec, output: Path) -> None:
        self._output = output
        self._pause = False
        self.run = run_pb2.Run(
            id=output.name, spec=to_message(spec), workers=spec.workers.count, attempt=self.attempt
        )
        self.log = Outbox(self.attempt)
        self._log_file = LogFile(output)
        self.responses: queue.Queue[service_pb2.WatchRunResponse | None] = queue.Queue()

    def take(self) -> runner_pb2.TakeRunResponse:
        self._apply(state_event(run_pb2.RUN_STATE_RUNNING))
        return runner_pb2.TakeRunResponse(
            spec=self.run.spec,
            directory=str(self._output),
            directory_inode=self._output.stat().st_ino,
            worker_cpus=1.0,
            workers=self.run.workers,
        )

    def add(self, report: runner_pb2.RunReport) -> None:
        if not report.HasField("step_times"):
            self._apply(from_report(report))

    def send(self) -> None:
        self._write_log()

    def requests(self) -> runner_pb2.ReportResponse:
        return runner_pb2.ReportResponse(pause=self._pause, workers=self.run.workers)

    def flush(self) -> None:
        """Write the rest of the log; reports were applied as they came."""
        while self._write_log():
            pass

    def _write_log(self) -> int:
        """Write the next lines, and return how many; those that a full disk refuses are lost."""
        lines = self.log.next()
        self.log.acknowledged(len(lines))
        for line in lines:
            line.sequence = 0  # the file's own count goes on where another job of this run ended
        with contextlib.suppress(OSError):
            self._log_file.append(lines)
        return len(lines)

    def put_weights(self, path: Path) -> str:
        raise AssertionError("the runner shares the folder of its own command")

    def pause(self) -> None:
        """Have the run take a snapshot and stop."""
        self._pause = True

    def close(self) -> None:
        """End ``watch``."""
        self.responses.put(None)

    def watch(self) -> Iterator[service_pb2.WatchRunResponse]:
        """What is to be shown, until ``close``."""
        while (response := self.responses.get()) is not None:
            yield response

    def _apply(self, event: run_pb2.Event) -> None:
        if history.apply(self.run, event):
            self.responses.put(service_pb2.WatchRunResponse(event=event))


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Make a folder unless it is there, and keep every other run-job out of it.

    Raises:
        UsageError: it cannot be made, or another run-job works in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "run-job.lock").open("w")
    except OSError as error:
        raise UsageError(
            f"the folder {folder} cannot be used: {error.strerror}; name another with --output"
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another run-job works in {folder}; name another folder with --output"
            ) from None
        yield
