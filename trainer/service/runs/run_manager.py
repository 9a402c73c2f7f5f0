"""What clients ask for and runners say, done to the runs of one service."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from pathlib import Path

from sumgrad.trainer.record import states
from sumgrad.trainer.record.events import new_event as _event
from sumgrad.trainer.record.events import now as _now
from sumgrad.trainer.record.events import state_event as _state
from sumgrad.trainer.service.access.caller import LOCAL_ADMIN, Caller, PriorityNotAllowedError, Role
from sumgrad.trainer.service.access.confinement import Confinement
from sumgrad.trainer.service.api.request_limits import (
    check_labels,
    check_log,
    check_reports,
    check_request_id,
    check_spec_size,
)
from sumgrad.trainer.service.api.run_errors import (
    NotTheRunnerError,
    QueueFullError,
    RunFilesError,
    RunNotFoundError,
    WorkersError,
)
from sumgrad.trainer.service.api.run_filter import Cursor, RunFilter
from sumgrad.trainer.service.cluster.attempts import Attempts
from sumgrad.trainer.service.cluster.launcher import Launcher
from sumgrad.trainer.service.outputs import weights_inbox
from sumgrad.trainer.service.outputs.points import Points
from sumgrad.trainer.service.prometheus import Metrics
from sumgrad.trainer.service.queue import scheduling
from sumgrad.trainer.service.queue.scheduling import NO_LIMITS, UserLimits
from sumgrad.trainer.service.queue.waiting_runs import RunQueue
from sumgrad.trainer.service.runs import transitions
from sumgrad.trainer.service.runs.runs import Runs
from sumgrad.trainer.service.runs.stored_run import StoredRun
from sumgrad.trainer.service.runs.watching import EVENTS_AT_ONCE, Heartbeat
from sumgrad.trainer.service.store.run_store import RunNotEndedError, Store
from sumgrad.trainer.service.takeover.instance import Instance
from sumgrad.trainer.spec.allowed_locations import SpecRoots
from sumgrad.trainer.spec.fit import check_against_data, describe_data
from sumgrad.trainer.spec.messages import to_document, to_message
from sumgrad.trainer.spec.parse import parse
from sumgrad.trainer.spec.run_spec import RunSpec
from sumgrad.trainer.spec.violations import InvalidSpecError, Violation
from sumgrad.trainer.study.describe import describe
from sumgrad.trainer.v1 import run_pb2, runner_pb2, service_pb2
from sumgrad.trainer.weights.weight_file import WEIGHTS


class RunManager:
    """All runs of one service. Lives on one event loop.

    Attributes:
        attempts: at these runs.
        directory: where a run's files lie.
    """

    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        instance: Instance,
        metrics: Metrics,
        limits: UserLimits = NO_LIMITS,
        preemption: bool = True,
        confinement: Confinement | None = None,
    ) -> None:
        """
        Args:
            confinement: what specifications may name; None for everything that this process reads.
        """
        run_queue = RunQueue(lambda: self.cores, limits, preemption)
        self._confinement = confinement
        self.roots = SpecRoots() if confinement is None else confinement.roots
        self._runs = Runs(store, instance, metrics, run_queue)
        self.attempts = Attempts(self._runs, launcher, self._confined)
        self.watching = self._runs.watching
        self.logs = self._runs.logs
        self.directory = self._runs.directory

    @property
    def cores(self) -> int:
        """CPUs that runs can use, of all nodes, as last heard; at least 1."""
        return self.attempts.cores

    async def start(self) -> None:
        """Take over what ended services left, and begin to launch what is queued."""
        await self.attempts.start()

    async def close(self) -> None:
        """Stop launching; runs of a temporary service are ended as cancelled."""
        try:
            await self.attempts.close()
        finally:
            self._runs.close()

    # What clients ask for.

    async def submit(
        self,
        message: run_pb2.RunSpec,
        request_id: str = "",
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
        caller: Caller = LOCAL_ADMIN,
    ) -> run_pb2.Run:
        """Check, store and queue a run; one that was submitted with the request id is given back.

        Raises:
            InvalidRequestError, RequestConflictError, PriorityNotAllowedError, QueueFullError
            InvalidSpecError: with every mistake that was found; nothing is stored.
        """
        check_request_id(request_id)
        check_labels(labels or {})
        check_spec_size(message)
        spec = parse(to_document(message))
        run = run_pb2.Run(
            id=f"r-{secrets.token_hex(8)}",
            spec=to_message(spec),
            created=_now(),
            workers=spec.workers.count,
            request_id=request_id,
            labels=labels,
            priority=priority,
            owner=caller.user,
        )
        # Before what may have changed since the first time: the data, and what is allowed.
        known = await self._runs.read(self._runs.store.requested, run)
        if known is not None:
            return known.run
        self._check_priority(caller, priority)
        self._check_room(caller.user)
        await self._check(spec)
        events = [_state(run_pb2.RUN_STATE_QUEUED)]
        if spec.workers.count > self.cores:
            warning = (
                f"{spec.workers.count} workers share {self.cores} cores; "
                "they will not be faster than one a core"
            )
            events.append(_event(warning=run_pb2.Warning(message=warning)))
        stored = await self._runs.write(self._runs.store.create, run, self._runs.me, events)
        if stored.run.id == run.id:
            await self._runs.announce(stored)
        return stored.run

    async def plan(self, message: run_pb2.RunSpec) -> service_pb2.Plan:
        """How much a run of this specification would do.

        Raises:
            InvalidSpecError: ``submit`` would raise the same.
        """
        check_spec_size(message)
        spec = await self._check(parse(to_document(message)))
        found = await asyncio.to_thread(describe, spec)
        return service_pb2.Plan(
            parameters=found.parameters,
            steps=found.steps or 0,
            steps_per_epoch=found.steps_per_epoch or 0,
            batch_size=found.batch_size,
            shards=found.shards,
            workers=found.workers,
        )

    def _check_priority(self, caller: Caller, priority: int) -> None:
        """A high priority stops the runs of others. Raises PriorityNotAllowedError."""
        highest = self._runs.queue.limits.priority
        if caller.role is not Role.ADMIN and priority > highest:
            raise PriorityNotAllowedError(caller, highest, priority)

    def _check_room(self, owner: str) -> None:
        """What waits takes memory. Raises QueueFullError."""
        most = self._runs.queue.limits.waiting
        if self._runs.queue.waiting_of(owner) >= most:
            raise QueueFullError(owner, most)

    async def _check(self, spec: RunSpec) -> RunSpec:
        """All that depends on this service; the confined specification. Raises InvalidSpecError."""
        # First: nothing outside is looked at, not even for an error message.
        spec = await asyncio.to_thread(self._confined, spec)
        await asyncio.to_thread(check_against_data, spec, scheduling.workers_limit(self.cores))
        self._check_limits(spec.workers.count)
        return spec

    def _check_limits(self, workers: int) -> None:
        """Refuse a run that would never start. Raises InvalidSpecError."""
        most = self._runs.queue.limits.cpus
        if most is not None and scheduling.run_cpus(workers, self.cores) > most:
            raise InvalidSpecError(
                [
                    Violation(
                        "workers.count",
                        f"must be at most {most} here, the CPUs that one user may have, "
                        f"got {workers}; ask for fewer workers",
                    )
                ]
            )

    def _confined(self, spec: RunSpec) -> RunSpec:
        """Raises InvalidSpecError."""
        return spec if self._confinement is None else self._confinement.confined(spec)

    async def get(self, run_id: str) -> run_pb2.Run:
        """Raises RunNotFoundError."""
        return self._runs.queue.placed(await self._runs.get(run_id)).run

    async def page(self, after: Cursor | None, limit: int, wanted: RunFilter) -> list[StoredRun]:
        """Runs by the time of their creation; see Store.page."""
        page = await self._runs.read(self._runs.store.page, after, limit, wanted)
        return [self._runs.queue.placed(stored) for stored in page]

    async def delete(self, run_id: str) -> None:
        """Forget a run that has ended, and delete its folder.

        Raises:
            RunNotFoundError, RunNotEndedError, RunFilesError
        """
        stored = await self._runs.get(run_id)
        if not states.ended(stored.run):
            raise RunNotEndedError(run_id)
        # First, so that a deletion that breaks off can be asked for again.
        try:
            await asyncio.to_thread(shutil.rmtree, self.directory(run_id))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise RunFilesError(
                run_id, f"the files of run {run_id} cannot be deleted, so it is kept: {error}"
            ) from None
        await self.logs.forget(run_id)
        if not await self._runs.write(self._runs.store.delete, run_id):
            raise RunNotFoundError(run_id)
        self.watching.announce(run_id, 0)

    async def cancel(self, run_id: str) -> run_pb2.Run:
        """Stop a run; a running one ends when its runner has stopped it.

        Raises:
            RunNotFoundError, RunEndedError, RunElsewhereError
        """
        return (await self._runs.change(run_id, transitions.cancel, self._runs.me)).stored.run

    async def pause(self, run_id: str) -> run_pb2.Run:
        """Have a run stop at a snapshot; a running one is paused when its runner says so.

        Raises:
            RunNotFoundError, RunEndedError, RunElsewhereError
        """
        return (await self._runs.change(run_id, transitions.pause, self._runs.me)).stored.run

    async def resume(self, run_id: str) -> run_pb2.Run:
        """Queue a paused run again.

        Raises:
            RunNotFoundError, RunEndedError, RunElsewhereError, NotPausedError
        """
        return (await self._runs.change(run_id, transitions.resume, self._runs.me)).stored.run

    async def scale(self, run_id: str, workers: int) -> run_pb2.Run:
        """Have a run work with another number of workers, now or when it is launched.

        Raises:
            RunNotFoundError, RunEndedError, RunElsewhereError, WorkersError
            InvalidSpecError: its data lies, by now, where it may not.
        """
        stored = await self._runs.get(run_id)
        transitions.check_changeable(stored, self._runs.me)
        run = stored.run
        spec = await asyncio.to_thread(self._confined, parse(to_document(run.spec)))
        data = await asyncio.to_thread(describe_data, spec)
        most = min(scheduling.workers_limit(self.cores), spec.job().sampling(data).shards)
        if not 1 <= workers <= most:
            raise WorkersError(
                run_id,
                f"run {run_id} can have 1 to {most} workers (the shards of its batches, and what "
                f"fits here), got {workers}",
            )
        self._check_scaled(run, workers)
        changed = await self._runs.change(run_id, transitions.scale, self._runs.me, workers)
        return changed.stored.run

    def _check_scaled(self, run: run_pb2.Run, workers: int) -> None:
        """Hold a user's CPUs to their limit. Raises WorkersError."""
        most, cpus = self._runs.queue.limits.cpus, scheduling.run_cpus(workers, self.cores)
        others = self._runs.queue.cpus_of(run.owner, run.id) if run.state in states.ACTIVE else 0
        grows = cpus > scheduling.run_cpus(run.workers, self.cores)
        if most is not None and grows and others + cpus > most:
            raise WorkersError(
                run.id,
                f"run {run.id} cannot have {workers} workers: its user may have {most} CPUs, and "
                f"other runs hold {others} of them",
            )

    def watch(
        self, run_id: str, after: int | None, heartbeat: float
    ) -> AsyncGenerator[StoredRun | run_pb2.Event | run_pb2.QueueStatus | Heartbeat, None]:
        """What happens to a run; see Watching.watch."""
        return self.watching.watch(run_id, after, heartbeat)

    async def events(self, run_id: str, after: int) -> list[run_pb2.Event]:
        """The first events after this sequence number, of those that there are.

        Raises:
            RunNotFoundError
        """
        stored = await self._runs.get(run_id)
        if after >= stored.sequence:
            return []
        return await self._runs.read(self._runs.store.events, run_id, after, EVENTS_AT_ONCE)

    async def curves(
        self, run_id: str, series: Sequence[service_pb2.Series], most: int
    ) -> list[service_pb2.Curve]:
        """The curves of a run that have points, each thinned out to at most so many.

        Raises:
            RunNotFoundError
        """
        points, after = Points(), 0
        while events := await self.events(run_id, after):
            points.add(events)
            after = events[-1].sequence
        found = await asyncio.to_thread(lambda: [points.curve(s, most) for s in series])
        return [curve for curve in found if curve.total]

    # What runners report.

    async def take(self, run_id: str, attempt: int, token: str) -> run_pb2.Run:
        """A runner has started; the run is running from here on, and has a folder.

        Raises:
            NotTheRunnerError, RunFilesError
        """
        await self._runner_of(run_id, attempt, token)
        folder = self.directory(run_id)
        try:
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        except OSError as error:
            raise RunFilesError(
                run_id, f"the folder {folder} cannot be made: {error.strerror}"
            ) from None
        taken = await self._runs.change(run_id, transitions.take, attempt, token)
        self.attempts.runner_called(run_id, attempt)
        return taken.stored.run

    async def report(
        self,
        run_id: str,
        attempt: int,
        token: str,
        reports: Sequence[runner_pb2.RunReport],
        log: Sequence[run_pb2.LogLine] = (),
    ) -> runner_pb2.ReportResponse:
        """Store what a runner says; the answer says what it is to do.

        Raises:
            NotTheRunnerError, InvalidRequestError
        """
        stored = await self._speaker(run_id, attempt, token)
        check_reports(reports)
        check_log(log)
        if stored.run.state in states.ACTIVE:
            self.attempts.runner_called(run_id, attempt)
        # Before the events, so that whoever sees the run's end finds its last lines.
        await self.logs.add(run_id, log)
        numbered = {}
        for report in reports:
            if report.HasField("step_times"):
                self._runs.metrics.step_times(run_id, report.step_times)
            else:
                numbered[report.number] = report
        if numbered:
            # The runner has logged what there is to say of them.
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
        """Store the weights that a runner sends; where they lie.

        Raises:
            NotTheRunnerError, InvalidRequestError, WeightsDamagedError, WeightsNotStoredError
        """

        async def sender() -> StoredRun:
            return await self._runner_of(file.id, file.attempt, file.token)

        spec = parse(to_document((await sender()).run.spec))
        most = await asyncio.to_thread(weights_inbox.largest_file, spec)
        path = self.directory(file.id) / WEIGHTS
        await weights_inbox.receive(path, file, self._calling(file, chunks), most, sender)
        return path

    async def _calling(
        self, file: runner_pb2.AnnouncedWeights, chunks: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        """The same chunks; a runner that sends them is not silent."""
        async for chunk in chunks:
            self.attempts.runner_called(file.id, file.attempt)
            yield chunk

    async def _runner_of(self, run_id: str, attempt: int, token: str) -> StoredRun:
        """The run of a runner whose attempt goes on. Raises NotTheRunnerError."""
        stored = await self._speaker(run_id, attempt, token)
        transitions.check_runner(stored, attempt, token)
        return stored

    async def _speaker(self, run_id: str, attempt: int, token: str) -> StoredRun:
        """The run of a runner whose attempt may be over. Raises NotTheRunnerError."""
        stored = await self._runs.read(self._runs.store.get, run_id)
        if stored is None:
            raise NotTheRunnerError(run_id, attempt)
        transitions.check_speaker(stored, attempt, token)
        return stored
