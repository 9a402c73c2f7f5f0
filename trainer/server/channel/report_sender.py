"""Reports and log lines from the parameter server to the runner, which passes them on."""

from __future__ import annotations

from collections.abc import Sequence

from sumgrad.trainer.server.channel.log_lines import log_lines
from sumgrad.trainer.server.channel.server_endpoint import ServerEndpoint
from sumgrad.trainer.server.rounds.membership import RUNNER
from sumgrad.trainer.v1 import run_pb2, runner_pb2
from sumgrad.workers.logs.log_buffer import LogBuffer
from sumgrad.workers.v1 import work_pb2


class ReportSender:
    """Sends over the endpoint that the runner is connected to.

    Args:
        log: what this process logs; None where nothing is to be sent of it.
    """

    def __init__(self, endpoint: ServerEndpoint, log: LogBuffer | None = None) -> None:
        self._endpoint = endpoint
        self._log = log

    def report(self, report: runner_pb2.RunReport) -> None:
        self._endpoint.send(RUNNER, report.SerializeToString())

    def warn(self, message: str) -> None:
        """Tell the run's user of something that the run survives."""
        self.report(runner_pb2.RunReport(warning=run_pb2.Warning(message=message)))

    def joined(self, worker: str, step: int) -> None:
        member = run_pb2.Membership(worker=worker, joined=True, step=step)
        self.report(runner_pb2.RunReport(membership=member))

    def left(self, worker: str, step: int, reason: str) -> None:
        member = run_pb2.Membership(worker=worker, joined=False, step=step, reason=reason)
        self.report(runner_pb2.RunReport(membership=member))

    def expel(self, worker: str, reason: str) -> None:
        """Have the runner end a worker's process."""
        expel = runner_pb2.ExpelWorker(worker=worker, reason=reason)
        self.report(runner_pb2.RunReport(expel=expel))

    def send_log_if_due(self) -> None:
        if self._log is not None and self._log.due():
            self.send_log()

    def send_log(self) -> None:
        """Send what this process has logged since the last time."""
        if self._log is not None:
            self.pass_on("server", self._log.take())

    def pass_on(self, source: str, lines: Sequence[work_pb2.LogLine]) -> None:
        """Send log lines of the process that ``source`` names."""
        if lines:
            log = runner_pb2.Log(lines=log_lines(source, lines))
            self.report(runner_pb2.RunReport(log=log))
