"""What runners call: they take a run, report on it and send its weights."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from sumgrad.trainer.record import states
from sumgrad.trainer.service.api.request_limits import check_log, check_reports
from sumgrad.trainer.service.api.run_errors import NotTheRunnerError, RunFilesError
from sumgrad.trainer.service.outputs import weights_inbox
from sumgrad.trainer.service.runs import transitions
from sumgrad.trainer.service.runs.runs import Runs
from sumgrad.trainer.service.runs.stored_run import StoredRun
from sumgrad.trainer.spec.messages import spec_of
from sumgrad.trainer.v1 import run_pb2, runner_pb2
from sumgrad.trainer.weights.weight_file import WEIGHTS


class RunnerCalls:
    """Lives on one event loop.

    Args:
        runner_called: called with the run's id and the attempt whenever the runner of an attempt
            that goes on has called.
    """

    def __init__(self, runs: Runs, runner_called: Callable[[str, int], None]) -> None:
        self._runs = runs
        self._runner_called = runner_called

    async def take(self, run_id: str, attempt: int, token: str) -> run_pb2.Run:
        """Record that a runner has started: its run is running from here on, and has a folder.

        Raises:
            NotTheRunnerError, RunFilesError
        """
        await self._check_runner(run_id, attempt, token)
        folder = self._runs.directory(run_id)
        try:
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        except OSError as error:
            raise RunFilesError(
                run_id, f"the folder {folder} cannot be made: {error.strerror}"
            ) from None
        taken = await self._runs.change(run_id, transitions.take, attempt, token)
        self._runner_called(run_id, attempt)
        return taken.stored.run

    async def report(
        self,
        run_id: str,
        attempt: int,
        token: str,
        reports: Sequence[runner_pb2.RunReport],
        log: Sequence[run_pb2.LogLine] = (),
    ) -> runner_pb2.ReportResponse:
        """Store what a runner reports.

        Returns:
            What the runner is to do.

        Raises:
            NotTheRunnerError, InvalidRequestError
        """
        stored = await self._check_last_runner(run_id, attempt, token)
        check_reports(reports)
        check_log(log)
        if stored.run.state in states.ACTIVE:
            self._runner_called(run_id, attempt)
        # Before the events, so that whoever sees the run's end finds its last lines.
        await self._runs.logs.add(run_id, log)
        numbered = {}
        for report in reports:
            if report.HasField("step_times"):
                self._runs.metrics.step_times(run_id, report.step_times)
            else:
                numbered[report.number] = report
        if numbered:
            # The runner's own lines are the log of them.
            stored = await self._runs.change_unlogged(
                run_id, lambda now: transitions.report(now, attempt, token, numbered)
            )
        run = stored.run
        return runner_pb2.ReportResponse(
            cancel=run.stop_requested == run_pb2.STOP_CANCEL or run.state not in states.ACTIVE,
            pause=run.stop_requested == run_pb2.STOP_PAUSE or bool(run.preempted_by),
            workers=run.workers,
        )

    async def put_weights(
        self, file: runner_pb2.AnnouncedWeights, chunks: AsyncIterator[bytes]
    ) -> Path:
        """Store the weights that a runner sends.

        Returns:
            Where they lie.

        Raises:
            NotTheRunnerError, InvalidRequestError, WeightsDamagedError, WeightsNotStoredError
        """

        async def sender() -> StoredRun:
            return await self._check_runner(file.id, file.attempt, file.token)

        spec = spec_of((await sender()).run.spec)
        most = await asyncio.to_thread(weights_inbox.largest_file, spec)
        path = self._runs.directory(file.id) / WEIGHTS
        await weights_inbox.receive(path, file, self._noting(file, chunks), most, sender)
        return path

    async def _noting(
        self, file: runner_pb2.AnnouncedWeights, chunks: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        """The same chunks; each counts as a call of the runner."""
        async for chunk in chunks:
            self._runner_called(file.id, file.attempt)
            yield chunk

    async def _check_runner(self, run_id: str, attempt: int, token: str) -> StoredRun:
        """The run, if this is the runner of an attempt that goes on. Raises NotTheRunnerError."""
        stored = await self._check_last_runner(run_id, attempt, token)
        transitions.check_runner(stored, attempt, token)
        return stored

    async def _check_last_runner(self, run_id: str, attempt: int, token: str) -> StoredRun:
        """The run, if this is the runner of its last attempt. Raises NotTheRunnerError."""
        stored = await self._runs.read(self._runs.store.get, run_id)
        if stored is None:
            raise NotTheRunnerError(run_id, attempt)
        transitions.check_last_runner(stored, attempt, token)
        return stored
