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


class LocalLink:
    """The runner's end, and the command's.

    Every worker asks for a whole CPU; those that the cluster has no room for wait for it.

    Args:
        output: the run's folder; what an interrupted run left there is gone on from.

    Attributes:
        run: the run as it is now.
        log: the run's log lines, which go to ``log.jsonl`` in the folder.
        responses: what there is to be shown, for another thread; None after the last.
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
        self._happen(state_event(run_pb2.RUN_STATE_RUNNING))
        return runner_pb2.TakeRunResponse(
            spec=self.run.spec,
            directory=str(self._output),
            directory_inode=self._output.stat().st_ino,
            worker_cpus=1.0,
            workers=self.run.workers,
        )

    def add(self, report: runner_pb2.RunReport) -> None:
        if not report.HasField("step_times"):
            self._happen(from_report(report))

    def send(self) -> None:
        self._write_log()

    def wishes(self) -> runner_pb2.ReportResponse:
        return runner_pb2.ReportResponse(pause=self._pause, workers=self.run.workers)

    def flush(self) -> None:
        """Write what is left of the log; every report was taken as it came."""
        while self._write_log():
            pass

    def _write_log(self) -> int:
        """The number of lines that went to the file; a disk that is full costs them only."""
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
        """There is nothing more to show."""
        self.responses.put(None)

    def watch(self) -> Iterator[service_pb2.WatchRunResponse]:
        """What there is to be shown, until ``close``."""
        while (response := self.responses.get()) is not None:
            yield response

    def _happen(self, event: run_pb2.Event) -> None:
        if history.apply(self.run, event):
            self.responses.put(service_pb2.WatchRunResponse(event=event))


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Have a folder, made if need be, that no other run-job works in meanwhile.

    Raises:
        UsageError: it cannot be had.
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
