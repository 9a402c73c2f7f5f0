"""Looks after runs from submission to end: queue, launch, reports, cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from trainer.metrics import Metrics
from trainer.server.weights import WEIGHTS
from trainer.service import history, queue, transitions, weights_inbox
from trainer.service.caller import LOCAL_ADMIN, Caller, PriorityNotAllowedError, Role
from trainer.service.confinement import Confinement
from trainer.service.events import new_event as _event
from trainer.service.events import now as _now
from trainer.service.events import state_event as _state
from trainer.service.instance import Instance
from trainer.service.launcher import JobState, Launch, Launcher
from trainer.service.points import Points
from trainer.service.queue import NO_LIMITS, UserLimits
from trainer.service.ray_api import RayError, RayUnreachableError
from trainer.service.requests import (
    check_labels,
    check_log,
    check_reports,
    check_request_id,
    check_spec_size,
)
from trainer.service.run_errors import (
    NotTheRunnerError,
    QueueFullError,
    RunFilesError,
    RunNotFoundError,
    WorkersError,
)
from trainer.service.run_filter import Cursor, RunFilter
from trainer.service.run_logs import RunLogs
from trainer.service.run_queue import RunQueue
from trainer.service.store import RunNotEndedError, Store
from trainer.service.store_errors import StoreError
from trainer.service.store_threads import StoreThreads
from trainer.service.stored_run import StoredRun
from trainer.service.tls import Tls
from trainer.service.transitions import Change, Transition
from trainer.service.watching import EVENTS_AT_ONCE, LOOK_UP_SECONDS, Heartbeat, Watching
from trainer.spec.parse import check_against_data, describe_data, parse
from trainer.spec.roots import SpecRoots
from trainer.spec.run_spec import RunSpec
from trainer.spec.violations import InvalidSpecError, Violation
from trainer.spec.wire import to_document, to_message
from trainer.study.describe import describe
from trainer.v1 import run_pb2, runner_pb2, service_pb2

SILENCE_SECONDS = 2.0
"""A runner reports twice a second; one that is silent for longer is asked after."""

LOST_SECONDS = 120.0
"""A runner that is silent for this long has failed, whatever Ray says of it."""

CANCEL_SECONDS = 10.0
"""A runner that was told to stop has this long before its job is ended."""

RECONCILE_SECONDS = 10.0
"""Services are asked after so often, and those that were gone the last time too are succeeded. One
that is started again sooner takes its runs over itself, at the address that their runners know."""

DECIDING_SHARE = 0.1
"""At most this share of the time goes into deciding what starts, however long the queue is."""

UNTOLD_CORES = 256
"""What a cluster is taken to have that has not said: enough for the largest run."""

_LOG = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class RunManager:
    """All runs of one service. Lives on one event loop; the store works in threads of its own."""

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
        self._store = store
        self._launcher = launcher
        self._instance = instance
        self._metrics = metrics
        self._cores = UNTOLD_CORES
        # Why the cluster does not answer, and which runs were told so.
        self._silence = ""
        self._told: set[str] = set()
        self._queue = RunQueue(lambda: self._cores, limits, preemption)
        # Whether runs may have changed that the queue was not told of.
        self._queue_is_stale = False
        self._deciding = 0.0
        self._threads = StoreThreads()
        self._read = self._threads.read
        self.watching = Watching(store, self._threads, self._queue)
        self._confinement = confinement
        self.roots = SpecRoots() if confinement is None else confinement.roots
        self._wake = asyncio.Event()
        # Of active runs: when the runner last called, and since when it is known here that the
        # run is to be cancelled.
        self._heard: dict[str, float] = {}
        self._cancelling: dict[str, float] = {}
        # When services were last asked after, and which of them were gone.
        self._reconciled = time.monotonic()
        self._gone: set[str] = set()
        self.logs = RunLogs(self.directory)
        self._task: asyncio.Task[None] | None = None
        self.service_address = ""
        self.service_tls: Tls | None = None

    @property
    def cores(self) -> int:
        """CPUs that runs can use, of all nodes, as last heard; at least 1."""
        return self._cores

    async def start(self) -> None:
        """Take over what ended services left, and begin to launch what is queued."""
        await self._ask_cluster()
        for service in await self._gone_services():
            await self._take_over(service)
        self._task = asyncio.create_task(self._look_after_runs())

    async def close(self) -> None:
        """Stop launching; runs of a temporary service are ended as cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            if self._instance.temporary:
                for stored in await self._mine():
                    await self._end(stored, run_pb2.RUN_STATE_CANCELLED, "its command ended")
        except StoreError as error:
            _LOG.error("what the next service has to close is left open: %s", error)
        finally:
            self._threads.close()
            self.logs.close()

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
        known = await self._read(self._store.requested, run)
        if known is not None:
            return known.run
        self._check_priority(caller, priority)
        self._check_room(caller.user)
        await self._check(spec)
        events = [_state(run_pb2.RUN_STATE_QUEUED)]
        if spec.workers.count > self._cores:
            warning = (
                f"{spec.workers.count} workers share {self._cores} cores; "
                "they will not be faster than one a core"
            )
            events.append(_event(warning=run_pb2.Warning(message=warning)))
        stored = await self._call(self._store.create, run, self._instance.name, events)
        if stored.run.id == run.id:
            await self._announce(stored)
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
        highest = self._queue.limits.priority
        if caller.role is not Role.ADMIN and priority > highest:
            raise PriorityNotAllowedError(caller, highest, priority)

    def _check_room(self, owner: str) -> None:
        """What waits takes memory. Raises QueueFullError."""
        most = self._queue.limits.waiting
        if self._queue.waiting_of(owner) >= most:
            raise QueueFullError(owner, most)

    async def _check(self, spec: RunSpec) -> RunSpec:
        """All that depends on this service; the confined specification. Raises InvalidSpecError."""
        # First: nothing outside is looked at, not even for an error message.
        spec = await asyncio.to_thread(self._confined, spec)
        await asyncio.to_thread(check_against_data, spec, queue.workers_limit(self._cores))
        self._check_limits(spec.workers.count)
        return spec

    def _check_limits(self, workers: int) -> None:
        """Refuse a run that would never start. Raises InvalidSpecError."""
        most = self._queue.limits.cpus
        if most is not None and queue.run_cpus(workers, self._cores) > most:
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
        return self._queue.placed(await self._stored(run_id)).run

    async def page(self, after: Cursor | None, limit: int, wanted: RunFilter) -> list[StoredRun]:
        """Runs by the time of their creation; see Store.page."""
        page = await self._read(self._store.page, after, limit, wanted)
        return [self._queue.placed(stored) for stored in page]

    async def delete(self, run_id: str) -> None:
        """Forget a run that has ended, and delete its folder.

        Raises:
            RunNotFoundError, RunNotEndedError, RunFilesError
        """
        stored = await self._stored(run_id)
        if not history.ended(stored.run):
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
        if not await self._call(self._store.delete, run_id):
            raise RunNotFoundError(run_id)
        self.watching.announce(run_id, 0)

    async def cancel(self, run_id: str) -> run_pb2.Run:
        """Stop a run; a running one ends when its runner has stopped it.

        Raises:
            RunNotFoundError, RunEndedError, RunElsewhereError
        """
        return (await self._change(run_id, transitions.cancel, self._instance.name)).stored.run

    async def pause(self, run_id: str) -> run_pb2.Run:
        """Have a run stop at a snapshot; a running one is paused when its runner says so.

        Raises:
            RunNotFoundError, RunEndedError, RunElsewhereError
        """
        return (await self._change(run_id, transitions.pause, self._instance.name)).stored.run

    async def resume(self, run_id: str) -> run_pb2.Run:
        """Queue a paused run again.

        Raises:
            RunNotFoundError, RunEndedError, RunElsewhereError, NotPausedError
        """
        return (await self._change(run_id, transitions.resume, self._instance.name)).stored.run

    async def scale(self, run_id: str, workers: int) -> run_pb2.Run:
        """Have a run work with another number of workers, now or when it is launched.

        Raises:
            RunNotFoundError, RunEndedError, RunElsewhereError, WorkersError
            InvalidSpecError: its data lies, by now, where it may not.
        """
        stored = await self._stored(run_id)
        transitions.check_changeable(stored, self._instance.name)
        run = stored.run
        spec = await asyncio.to_thread(self._confined, parse(to_document(run.spec)))
        data = await asyncio.to_thread(describe_data, spec)
        most = min(queue.workers_limit(self._cores), spec.job().sampling(data).shards)
        if not 1 <= workers <= most:
            raise WorkersError(
                run_id,
                f"run {run_id} can have 1 to {most} workers (the shards of its batches, and what "
                f"fits here), got {workers}",
            )
        self._check_scaled(run, workers)
        changed = await self._change(run_id, transitions.scale, self._instance.name, workers)
        return changed.stored.run

    def _check_scaled(self, run: run_pb2.Run, workers: int) -> None:
        """Hold a user's CPUs to their limit. Raises WorkersError."""
        most, cpus = self._queue.limits.cpus, queue.run_cpus(workers, self._cores)
        others = self._queue.cpus_of(run.owner, run.id) if run.state in history.ACTIVE else 0
        grows = cpus > queue.run_cpus(run.workers, self._cores)
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
        stored = await self._stored(run_id)
        if after >= stored.sequence:
            return []
        return await self._read(self._store.events, run_id, after, EVENTS_AT_ONCE)

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
        taken = await self._change(run_id, transitions.take, attempt, token)
        self._heard[run_id] = time.monotonic()
        return taken.stored.run

    def directory(self, run_id: str) -> Path:
        """Where a run's files lie."""
        return self._instance.state / "runs" / run_id

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
        if stored.run.state in history.ACTIVE:
            self._heard[run_id] = time.monotonic()
        # Before the events, so that whoever sees the run's end finds its last lines.
        await self.logs.add(run_id, log)
        numbered = {}
        for report in reports:
            if report.HasField("step_times"):
                self._metrics.step_times(run_id, report.step_times)
            else:
                numbered[report.number] = report
        if numbered:
            stored = (
                await self._store_change(
                    run_id, lambda now: transitions.report(now, attempt, token, numbered)
                )
            ).stored
            # Without the events, of which the runner has logged what there is to say.
            await self._announce(stored)
        run = stored.run
        return runner_pb2.ReportResponse(
            cancel=run.stop_requested == run_pb2.STOP_CANCEL or run.state not in history.ACTIVE,
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
        await weights_inbox.receive(path, file, self._hearing(file.id, chunks), most, sender)
        return path

    async def _hearing(self, run_id: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same chunks; a runner that sends them is not silent."""
        async for chunk in chunks:
            self._heard[run_id] = time.monotonic()
            yield chunk

    async def _runner_of(self, run_id: str, attempt: int, token: str) -> StoredRun:
        """The run of a runner whose attempt goes on. Raises NotTheRunnerError."""
        stored = await self._speaker(run_id, attempt, token)
        transitions.check_runner(stored, attempt, token)
        return stored

    async def _speaker(self, run_id: str, attempt: int, token: str) -> StoredRun:
        """The run of a runner whose attempt may be over. Raises NotTheRunnerError."""
        stored = await self._read(self._store.get, run_id)
        if stored is None:
            raise NotTheRunnerError(run_id, attempt)
        transitions.check_speaker(stored, attempt, token)
        return stored

    # The loop that launches and looks after.

    async def _look_after_runs(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._look_once()
            except StoreError as error:
                _LOG.error("runs cannot be looked after, trying again: %s", error)
            except Exception:  # a full disk, say: the runs are looked after again when it is over
                _LOG.exception("runs could not be looked after; trying again")
            await asyncio.sleep(min(LOOK_UP_SECONDS, self._deciding / DECIDING_SHARE))
            # Not asyncio.wait_for: in Python 3.11 it can swallow the cancellation that ends this.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_UP_SECONDS):
                    await self._wake.wait()

    async def _look_once(self) -> None:
        await self._call(self._instance.live)
        active = await self._mine(history.ACTIVE)
        self._forget_all_but({stored.run.id for stored in active})
        if self._queue_is_stale:
            await self._read_queue()
        if await self._ask_cluster():
            await self._decide()
        for stored in active:
            await self._look_after(stored)
        await self._reconcile()

    def _forget_all_but(self, active: Collection[str]) -> None:
        for known in (self._heard, self._cancelling):
            for run_id in known.keys() - active:
                del known[run_id]

    async def _ask_cluster(self) -> bool:
        """Learn what the cluster has; while it does not answer or has none, nothing is launched."""
        try:
            cores = int(sum(await self._launcher.cpus()))
        except RayError as error:
            if str(error) != self._silence:
                _LOG.warning("%s; runs wait for it", error)
            self._silence = str(error)
            self._queue.hold(str(error))
            return False
        self._silence = ""
        self._told.clear()
        # One that has no nodes for now may get some, and says nothing of how many.
        self._cores = cores or UNTOLD_CORES
        self._queue.hold("" if cores else "the Ray cluster has no CPUs")
        return cores > 0

    async def _decide(self) -> None:
        """Launch what is to start, and tell what is to give way."""
        began = time.monotonic()
        decision = self._queue.decide()
        self._deciding = time.monotonic() - began
        for run_id, by in decision.preempt.items():
            await self._change(run_id, transitions.preempt, self._instance.name, by)
        for run_id in decision.start:
            await self._launch(run_id)

    async def _read_queue(self) -> None:
        """Tell the queue of all runs again; the store's one thread keeps this in order."""
        self._queue_is_stale = False
        runs = await self._mine()
        self._queue.forget_all()
        for stored in runs:
            self._queue.update(stored)

    async def _launch(self, run_id: str) -> None:
        token = secrets.token_urlsafe(32)
        launched = await self._change(run_id, transitions.launch, self._instance.name, token)
        if not launched.events:
            self._queue_is_stale = True
            return
        run = launched.stored.run
        try:
            # Again: a link may lead elsewhere by now, and roots may be others since a restart. The
            # run's processes look again at each file that they open.
            await asyncio.to_thread(self._confined, parse(to_document(run.spec)))
            await self._launcher.start()
            now = await self._change(run_id, transitions.stop_before_launch, run.attempt)
            if now.stored.token != token:  # the attempt is over, or another service's affair
                return
            self._heard[run_id] = time.monotonic()
            await self._launcher.launch(self._launch_of(run, token))
        except StoreError:  # the run is looked after as one whose runner is silent
            raise
        except RayUnreachableError as error:  # it is asked after, as one that was launched
            await self._tell_of_silence(run, _without(token, error))
        except (RayError, OSError) as error:
            why = f"it could not be launched: {_without(token, error)}"
            await self._try_again(run, why, "it is launched again")
        except (InvalidSpecError, RuntimeError) as error:
            await self._not_launchable(run, _without(token, error))
        except Exception as error:  # whatever is wrong with one run, the queue goes on
            _LOG.exception("run %s could not be launched", run_id)
            await self._not_launchable(run, f"{type(error).__name__}: {_without(token, error)}")

    async def _not_launchable(self, run: run_pb2.Run, why: str) -> None:
        """Fail a run that another attempt would not help."""
        reason = f"it could not be launched: {why}"
        await self._change(run.id, transitions.fail, run.attempt, reason)

    def _launch_of(self, run: run_pb2.Run, token: str) -> Launch:
        launch = Launch(run.id, run.attempt, token, self.service_address)
        if self.service_tls is None:
            return launch
        tls = self.service_tls
        return replace(launch, certificate=tls.certificate, certificate_name=tls.name)

    async def _look_after(self, stored: StoredRun) -> None:
        """End a run whose runner is gone, or does not stop when told to."""
        run, now = stored.run, time.monotonic()
        job = _job(run)
        silence = now - self._heard.setdefault(run.id, now)
        cancels = run.stop_requested == run_pb2.STOP_CANCEL
        if cancels and now - self._cancelling.setdefault(run.id, now) > CANCEL_SECONDS:
            await self._stop(job)
            await self._change(run.id, transitions.overdue, run.attempt)
        elif not self._launcher.alive():
            await self._try_again(run, "the Ray cluster died")
        elif silence > LOST_SECONDS:
            await self._stop(job)
            await self._try_again(run, f"its runner was silent for {LOST_SECONDS:.0f} s")
        elif silence > SILENCE_SECONDS:
            state = JobState.UNKNOWN if self._silence else await self._launcher.state(job)
            if state == JobState.ENDED:
                reason = f"its runner died: {await self._launcher.log_tail(job)}"
                await self._try_again(run, reason)
            elif state == JobState.UNKNOWN:
                await self._tell_of_silence(run, self._silence)

    async def _stop(self, job: str) -> None:
        """End a job, unless its cluster, which has just been asked, does not answer."""
        if not self._silence:
            await self._launcher.stop_job(job)

    async def _tell_of_silence(self, run: run_pb2.Run, reason: str) -> None:
        """Say once in a run that nobody knows of its runner, because its cluster is silent."""
        if run.id not in self._told:
            self._told.add(run.id)
            message = f"{reason or 'the Ray cluster does not answer'}; the run waits for it"
            await self._change(run.id, transitions.warn, run.attempt, message)

    async def _try_again(
        self, run: run_pb2.Run, reason: str, again: str = transitions.GOES_ON
    ) -> None:
        """Queue a run whose attempt broke off."""
        await self._change(run.id, transitions.break_off, run.attempt, reason, again)

    async def _reconcile(self) -> None:
        """Take over the runs of services that have been gone for a while."""
        now = time.monotonic()
        if now - self._reconciled < RECONCILE_SECONDS:
            return
        gone = await self._gone_services()
        for service in gone & self._gone:
            await self._take_over(service)
        self._reconciled, self._gone = now, gone

    async def _gone_services(self) -> set[str]:
        others = await self._read(self._store.services) - {self._instance.name}
        return {other for other in others if await self._call(self._instance.is_gone, other)}

    async def _take_over(self, gone: str) -> None:
        """Have a service's runs go on here, or close them with its command."""
        runs = await self._read(self._store.open_runs, gone)
        if self._instance.was_temporary(gone):
            for stored in runs:
                await self._end(stored, run_pb2.RUN_STATE_FAILED, "its command was killed")
        elif not self._instance.temporary:
            for stored in await self._call(self._store.adopt_waiting, gone, self._instance.name):
                await self._announce(stored)
            for stored in runs:
                if stored.run.state not in history.WAITING:
                    await self._adopt(stored)

    async def _adopt(self, stored: StoredRun) -> None:
        """Look after a run whose job has not ended, as far as is known, or else queue it again."""
        over = not self._silence and await self._launcher.state(_job(stored.run)) == JobState.ENDED
        me = self._instance.name
        with contextlib.suppress(RunNotFoundError):  # another one has ended and deleted it
            await self._change(stored.run.id, transitions.adopt, stored.service, me, over)

    async def _end(self, stored: StoredRun, state: run_pb2.RunState, message: str) -> None:
        """End a run with the command that it belonged to."""
        with contextlib.suppress(RunNotFoundError):
            await self._change(stored.run.id, transitions.end, stored.service, state, message)

    async def _mine(
        self, states: Collection[run_pb2.RunState] = history.OPEN, limit: int | None = None
    ) -> list[StoredRun]:
        return await self._read(self._store.open_runs, self._instance.name, states, limit)

    # Events.

    async def _change(
        self,
        run_id: str,
        transition: Callable[Concatenate[StoredRun, P], Change],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Change:
        """Let a transition happen to a run; see Store.change. Raises RunNotFoundError too."""
        change = await self._store_change(
            run_id, lambda stored: transition(stored, *args, **kwargs)
        )
        await self._announce(change.stored, change.events)
        return change

    async def _store_change(self, run_id: str, transition: Transition) -> Change:
        change = await self._call(self._store.change, run_id, transition)
        if change is None:
            raise RunNotFoundError(run_id)
        return change

    async def _announce(self, stored: StoredRun, events: Sequence[run_pb2.Event] = ()) -> None:
        """Tell watchers, metrics and the queue that a run has changed, and the log by what."""
        run = stored.run
        if stored.service == self._instance.name:
            waited = self._queue.update(stored)
            if waited is not None:
                self._metrics.waited(waited)
        else:  # it was taken over, or its runner has spoken to us
            self._queue.forget(run.id)
        self._metrics.run(run)
        await self.logs.tell(run, events)
        if run.state not in history.ACTIVE:
            self._wake.set()
        self.watching.announce(run.id, stored.sequence)

    async def _stored(self, run_id: str) -> StoredRun:
        stored = await self._read(self._store.get, run_id)
        if stored is None:
            raise RunNotFoundError(run_id)
        return stored

    async def _call(self, method: Callable[..., T], *arguments: object) -> T:
        try:
            return await self._threads.write(method, *arguments)
        except StoreError:
            self._queue_is_stale = True  # it may have been stored all the same
            raise


def _job(run: run_pb2.Run) -> str:
    """The job of the run's present attempt."""
    return Launch(run.id, run.attempt, "", "").job


def _without(token: str, error: Exception) -> str:
    """What an error says: Ray may repeat what it was given, and clients and logs are told of it."""
    return str(error).replace(token, "[token]")
