"""Looks after runs from submission to end: queue, launch, reports, cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from trainer.metrics import Metrics
from trainer.service import history, queue, weights_inbox
from trainer.service.events import from_report as _from_report
from trainer.service.events import new_event as _event
from trainer.service.events import now as _now
from trainer.service.events import state_event as _state
from trainer.service.instance import Instance
from trainer.service.launcher import JobState, Launch, Launcher
from trainer.service.ray_api import RayError, RayUnreachableError
from trainer.service.requests import check_labels, check_request_id
from trainer.service.run_filter import Cursor, RunFilter
from trainer.service.store import RunNotEndedError, Store, StoredRun
from trainer.service.store_errors import StoreError
from trainer.spec.parse import check_against_data, describe_data, parse
from trainer.spec.wire import to_document, to_message
from trainer.v1 import run_pb2, runner_pb2

SILENCE_SECONDS = 5.0
"""A runner reports twice a second; one that is silent for longer is asked after."""

LOST_SECONDS = 120.0
"""A runner that is silent for this long has failed, whatever Ray says of it."""

CANCEL_SECONDS = 10.0
"""A runner that was told to stop has this long before its job is ended."""

FRUITLESS_ATTEMPTS = 5
"""A run whose attempts break off so often in a row without getting further has failed."""

EVENTS_AT_ONCE = 500
LOOK_UP_SECONDS = 1.0

UNTOLD_CPUS = (256.0,)
"""What a cluster is taken to have that has not said: enough for the largest run."""

_LOG = logging.getLogger(__name__)

T = TypeVar("T")


class RunError(Exception):
    """Something cannot be done to a run."""

    def __init__(self, run_id: str, message: str) -> None:
        super().__init__(message)
        self.run_id = run_id


class RunNotFoundError(RunError):
    """There is no run of this id."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id, f"there is no run {run_id!r}; `sumgrad list` shows all")


class RunEndedError(RunError):
    """The run has ended, so this cannot be done to it any more."""


class NotPausedError(RunError):
    """Only a paused run can be resumed."""


class WorkersError(RunError):
    """A run cannot have this many workers."""


class RunElsewhereError(RunError):
    """Another service looks after the run."""


class RunFilesError(RunError):
    """A run's folder cannot be deleted."""


class NotTheRunnerError(RunError):
    """The caller is not the runner of the run's current attempt."""


class RunManager:
    """All runs of one service. Lives on one event loop; the store works in a thread of its own."""

    def __init__(
        self, store: Store, launcher: Launcher, instance: Instance, metrics: Metrics
    ) -> None:
        self._store = store
        self._launcher = launcher
        self._instance = instance
        self._metrics = metrics
        self._cpus: tuple[float, ...] = UNTOLD_CPUS
        self._silent_cluster = ""
        # Runs that were told that their cluster is silent.
        self._told: set[str] = set()
        self._database = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._changed = asyncio.Condition()
        self._wake = asyncio.Event()
        # When each active run's runner last called, when each cancellation was asked for, which
        # runs are to pause, and the last sequence number of each run that changed here.
        self._heard: dict[str, float] = {}
        self._cancelling: dict[str, float] = {}
        self._pausing: set[str] = set()
        self._sequences: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self.service_address = ""

    @property
    def cpus(self) -> tuple[float, ...]:
        """Of each node that runs can use, as last heard."""
        return self._cpus

    @property
    def _cores(self) -> int:
        return int(sum(self._cpus))

    async def start(self) -> None:
        """Take over what ended services left, and begin to launch what is queued."""
        await self._ask_cluster()
        await self._reconcile()
        self._task = asyncio.create_task(self._look_after_runs())

    async def close(self) -> None:
        """Stop launching; runs of a temporary service are ended as cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            if self._instance.temporary:
                for stored in await self._mine():
                    await self._set_state(
                        stored.run.id, run_pb2.RUN_STATE_CANCELLED, "its command ended"
                    )
        except StoreError as error:
            _LOG.error("what the next service has to close is left open: %s", error)
        finally:
            self._database.shutdown()

    # What clients ask for.

    async def submit(
        self,
        message: run_pb2.RunSpec,
        request_id: str = "",
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
    ) -> run_pb2.Run:
        """Check, store and queue a run; one that was submitted with the request id is given back.

        Raises:
            InvalidRequestError, RequestConflictError
            InvalidSpecError: with every mistake that was found; nothing is stored.
        """
        check_request_id(request_id)
        check_labels(labels or {})
        spec = parse(to_document(message))
        run = run_pb2.Run(
            id=f"r-{secrets.token_hex(4)}",
            spec=to_message(spec),
            created=_now(),
            workers=spec.workers.count,
            request_id=request_id,
            labels=labels,
            priority=priority,
        )
        # Before the data is looked at, which may have changed since the first time.
        known = await self._call(self._store.requested, run)
        if known is not None:
            return known.run
        limit = queue.workers_limit(self._cores)
        await asyncio.to_thread(check_against_data, spec, limit)
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

    async def get(self, run_id: str) -> run_pb2.Run:
        """Raises RunNotFoundError."""
        return (await self._stored(run_id)).run

    async def page(self, after: Cursor | None, limit: int, wanted: RunFilter) -> list[StoredRun]:
        """Runs by the time of their creation; see Store.page."""
        return await self._call(self._store.page, after, limit, wanted)

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
        if not await self._call(self._store.delete, run_id):
            raise RunNotFoundError(run_id)
        self._sequences.pop(run_id, None)

    async def cancel(self, run_id: str) -> run_pb2.Run:
        """Stop a run; a running one ends when its runner has stopped it.

        Raises:
            RunNotFoundError, RunEndedError, RunElsewhereError
        """
        run = await self._changeable(run_id)
        if run.state in history.WAITING:
            return await self._set_state(run_id, run_pb2.RUN_STATE_CANCELLED, "cancelled")
        self._cancelling.setdefault(run_id, time.monotonic())
        return run

    async def pause(self, run_id: str) -> run_pb2.Run:
        """Have a run stop at a snapshot; a running one is paused when its runner says so.

        Raises:
            RunNotFoundError, RunEndedError, RunElsewhereError
        """
        run = await self._changeable(run_id)
        if run.state == run_pb2.RUN_STATE_QUEUED:
            return await self._set_state(run_id, run_pb2.RUN_STATE_PAUSED, "paused while queued")
        if run.state != run_pb2.RUN_STATE_PAUSED:
            self._pausing.add(run_id)
        return run

    async def resume(self, run_id: str) -> run_pb2.Run:
        """Queue a paused run again.

        Raises:
            RunNotFoundError, RunEndedError, RunElsewhereError, NotPausedError
        """
        run = await self._changeable(run_id)
        if run.state != run_pb2.RUN_STATE_PAUSED:
            raise NotPausedError(run_id, f"run {run_id} is not paused, so it cannot be resumed")
        return await self._set_state(run_id, run_pb2.RUN_STATE_QUEUED, "resumed")

    async def scale(self, run_id: str, workers: int) -> run_pb2.Run:
        """Have a run work with another number of workers, now or when it is launched.

        Raises:
            RunNotFoundError, RunEndedError, RunElsewhereError, WorkersError
        """
        run = await self._changeable(run_id)
        spec = parse(to_document(run.spec))
        data = await asyncio.to_thread(describe_data, spec)
        most = min(queue.workers_limit(self._cores), spec.job().sampling(data).shards)
        if not 1 <= workers <= most:
            raise WorkersError(
                run_id,
                f"run {run_id} can have 1 to {most} workers (the shards of its batches, and what "
                f"fits here), got {workers}",
            )
        event = _event(scaled=run_pb2.Scaled(workers=workers))
        return (await self._append(run_id, [event])).run

    async def _changeable(self, run_id: str) -> run_pb2.Run:
        """A run that is going on, or will, and is looked after here."""
        stored = await self._stored(run_id)
        if history.ended(stored.run):
            raise RunEndedError(run_id, f"run {run_id} has already ended")
        if stored.service != self._instance.name:
            raise RunElsewhereError(
                run_id, f"run {run_id} belongs to another service on this run store; ask that one"
            )
        return stored.run

    async def watch(self, run_id: str) -> AsyncIterator[StoredRun | run_pb2.Event]:
        """The run as it is, then every later event in order, until the run has ended.

        Raises:
            RunNotFoundError
        """
        stored = await self._stored(run_id)
        yield stored
        sequence, over = stored.sequence, history.ended(stored.run)
        while not over:
            events = await self._call(self._store.events, run_id, sequence, EVENTS_AT_ONCE)
            for event in events:
                yield event
                sequence = event.sequence
                over = event.state_change.state in history.ENDED
            if not events:
                await self._wait_for_event(run_id, sequence)
                await self._stored(run_id)  # it may have been deleted

    async def events(self, run_id: str, after: int) -> list[run_pb2.Event]:
        """The first events after this sequence number, of those that there are.

        Raises:
            RunNotFoundError
        """
        stored = await self._stored(run_id)
        if after >= stored.sequence:
            return []
        return await self._call(self._store.events, run_id, after, EVENTS_AT_ONCE)

    async def _wait_for_event(self, run_id: str, after: int) -> None:
        """Wait until there may be a later event; a run of another service is looked up again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_UP_SECONDS), self._changed:
                await self._changed.wait_for(lambda: self._sequences.get(run_id, 0) > after)

    # What runners report.

    async def take(self, run_id: str, attempt: int, token: str) -> run_pb2.Run:
        """A runner has started; the run is running from here on, and has a folder.

        Raises:
            NotTheRunnerError, RunFilesError
        """
        stored = await self._runner_of(run_id, attempt, token)
        folder = self.directory(run_id)
        try:
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        except OSError as error:
            raise RunFilesError(
                run_id, f"the folder {folder} cannot be made: {error.strerror}"
            ) from None
        self._heard[run_id] = time.monotonic()
        if stored.run.state == run_pb2.RUN_STATE_LAUNCHING:
            await self._append(run_id, [_state(run_pb2.RUN_STATE_RUNNING)])
        return stored.run

    def directory(self, run_id: str) -> Path:
        """Where a run's files lie."""
        return self._instance.state / "runs" / run_id

    async def report(
        self, run_id: str, attempt: int, token: str, reports: Sequence[runner_pb2.RunReport]
    ) -> runner_pb2.ReportResponse:
        """Store what a runner says; the answer says what it is to do.

        Raises:
            NotTheRunnerError
        """
        stored = await self._runner_of(run_id, attempt, token)
        self._heard[run_id] = time.monotonic()
        events = {}
        for report in reports:
            if report.HasField("step_times"):
                self._metrics.step_times(run_id, report.step_times)
            else:
                events[report.number] = _from_report(report)
        if events:
            appended = await self._call(self._store.append_reported, run_id, events)
            if appended is not None:
                stored = appended
                await self._announce(stored)
        return runner_pb2.ReportResponse(
            cancel=run_id in self._cancelling or history.ended(stored.run),
            pause=run_id in self._pausing,
            workers=stored.run.workers,
        )

    async def put_weights(self, file: runner_pb2.WeightsFile, chunks: AsyncIterator[bytes]) -> Path:
        """Store the weights that a runner sends; where they lie.

        Raises:
            NotTheRunnerError, WeightsDamagedError, WeightsNotStoredError
        """
        await self._runner_of(file.id, file.attempt, file.token)
        path = self.directory(file.id) / "weights.safetensors"
        await weights_inbox.receive(path, self._hearing(file.id, chunks), file.bytes, file.sha256)
        return path

    async def _hearing(self, run_id: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same chunks; a runner that sends them is not silent."""
        async for chunk in chunks:
            self._heard[run_id] = time.monotonic()
            yield chunk

    async def _runner_of(self, run_id: str, attempt: int, token: str) -> StoredRun:
        stored = await self._call(self._store.get, run_id)
        if (
            stored is None
            or stored.run.attempt != attempt
            or not stored.token
            or not secrets.compare_digest(stored.token, token)
        ):
            raise NotTheRunnerError(run_id, f"not the runner of attempt {attempt} of run {run_id}")
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
            # Not asyncio.wait_for: in Python 3.11 it can swallow the cancellation that ends this.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_UP_SECONDS):
                    await self._wake.wait()

    async def _look_once(self) -> None:
        await self._call(self._instance.live)
        active = await self._mine(history.ACTIVE)
        if await self._ask_cluster():
            await self._launch_what_fits(active)
        for stored in active:
            await self._look_after(stored)

    async def _ask_cluster(self) -> bool:
        """Learn what the cluster has; while it does not answer or has none, nothing is launched."""
        try:
            cpus = await self._launcher.cpus()
        except RayError as error:
            if str(error) != self._silent_cluster:
                _LOG.warning("%s; runs wait for it", error)
            self._silent_cluster = str(error)
            return False
        self._silent_cluster = ""
        self._told.clear()
        # One that has no nodes for now may get some, and says nothing of how many.
        self._cpus = cpus if sum(cpus) >= 1 else UNTOLD_CPUS
        return self._cpus is cpus

    async def _launch_what_fits(self, active: Sequence[StoredRun]) -> None:
        def workers(stored: StoredRun) -> int:
            return stored.run.workers

        # Each takes a core or more.
        queued = await self._mine({run_pb2.RUN_STATE_QUEUED}, self._cores)
        running = [workers(s) for s in active]
        count = queue.startable([workers(s) for s in queued], running, self._cores)
        for stored in queued[:count]:
            await self._launch(stored)

    async def _launch(self, stored: StoredRun) -> None:
        run_id, token = stored.run.id, secrets.token_urlsafe(32)
        event = _state(run_pb2.RUN_STATE_LAUNCHING)
        launched = await self._call(
            self._store.begin_attempt, run_id, self._instance.name, token, event
        )
        if launched is None:
            return
        await self._announce(launched)
        launch = Launch(run_id, launched.run.attempt, token, self.service_address)
        try:
            await self._launcher.start()
            if run_id in self._cancelling:
                await self._set_state(run_id, run_pb2.RUN_STATE_CANCELLED, "cancelled")
                return
            self._heard[run_id] = time.monotonic()
            await self._launcher.launch(launch)
        except RayUnreachableError as error:  # it is asked after, as one that was launched
            await self._tell_of_silence(run_id, str(error))
        except (RayError, RuntimeError, OSError) as error:
            await self._set_state(
                run_id, run_pb2.RUN_STATE_FAILED, f"it could not be launched: {error}"
            )
        except Exception as error:  # whatever is wrong with one run, the queue goes on
            _LOG.exception("run %s could not be launched", run_id)
            reason = f"it could not be launched: {type(error).__name__}: {error}"
            await self._set_state(run_id, run_pb2.RUN_STATE_FAILED, reason)

    async def _look_after(self, stored: StoredRun) -> None:
        """End a run whose runner is gone, or does not stop when told to."""
        run, now = stored.run, time.monotonic()
        job = _job(run)
        silence = now - self._heard.setdefault(run.id, now)
        if now - self._cancelling.get(run.id, now) > CANCEL_SECONDS:
            await self._launcher.stop_job(job)
            await self._set_state(run.id, run_pb2.RUN_STATE_CANCELLED, "cancelled")
        elif silence > LOST_SECONDS:
            await self._launcher.stop_job(job)
            await self._try_again(run, f"its runner was silent for {LOST_SECONDS:.0f} s")
        elif silence > SILENCE_SECONDS:
            state = await self._launcher.state(job)
            if state == JobState.ENDED:
                reason = f"its runner died: {await self._launcher.log_tail(job)}"
                await self._try_again(run, reason)
            elif state == JobState.UNKNOWN:
                await self._tell_of_silence(run.id, self._silent_cluster)

    async def _tell_of_silence(self, run_id: str, reason: str) -> None:
        """Say once in a run that nobody knows of its runner, because its cluster is silent."""
        if run_id not in self._told:
            self._told.add(run_id)
            message = f"{reason or 'the Ray cluster does not answer'}; the run waits for it"
            await self._append(run_id, [_event(warning=run_pb2.Warning(message=message))])

    async def _try_again(self, run: run_pb2.Run, reason: str) -> None:
        """Queue a run whose attempt broke off; it goes on from its last snapshot."""
        if run.id in self._cancelling:
            await self._set_state(run.id, run_pb2.RUN_STATE_CANCELLED, "cancelled")
        elif run.id in self._pausing:
            await self._set_state(run.id, run_pb2.RUN_STATE_PAUSED, reason)
        elif (attempts := history.fruitless(run)) >= FRUITLESS_ATTEMPTS:
            often = f"{attempts} attempts in a row got no further; the last: {reason}"
            await self._set_state(run.id, run_pb2.RUN_STATE_FAILED, often)
        else:
            again = f"{reason}; it goes on from its last snapshot"
            await self._set_state(run.id, run_pb2.RUN_STATE_QUEUED, again)

    async def _reconcile(self) -> None:
        """Take over the runs whose services are gone."""
        runs = await self._call(self._store.open_runs)
        for service in {stored.service for stored in runs}:
            if await self._call(self._instance.is_gone, service):
                theirs = [stored for stored in runs if stored.service == service]
                await self._take_over(service, theirs)

    async def _take_over(self, gone: str, runs: Sequence[StoredRun]) -> None:
        """Have a service's runs go on here, or close them with its command."""
        if self._instance.was_temporary(gone):
            for stored in runs:
                message = "its command was killed"
                await self._set_state(stored.run.id, run_pb2.RUN_STATE_FAILED, message)
        elif not self._instance.temporary:
            me = self._instance.name
            for stored in await self._call(self._store.adopt_waiting, gone, me):
                await self._announce(stored)
            for stored in runs:
                if stored.run.state not in history.WAITING:
                    await self._adopt(stored)

    async def _adopt(self, stored: StoredRun) -> None:
        """Look after a run whose job has not ended, as far as is known, or else queue it again."""
        queued = None
        if await self._launcher.state(_job(stored.run)) == JobState.ENDED:
            message = "its service ended; it goes on from its last snapshot"
            queued = _state(run_pb2.RUN_STATE_QUEUED, message)
        adopted = await self._call(
            self._store.adopt, stored.run.id, stored.service, self._instance.name, queued
        )
        if adopted is not None:
            await self._announce(adopted)

    async def _mine(
        self, states: Collection[run_pb2.RunState] = history.OPEN, limit: int | None = None
    ) -> list[StoredRun]:
        return await self._call(self._store.open_runs, self._instance.name, states, limit)

    # Events.

    async def _set_state(self, run_id: str, state: run_pb2.RunState, message: str) -> run_pb2.Run:
        return (await self._append(run_id, [_state(state, message)])).run

    async def _append(self, run_id: str, events: Sequence[run_pb2.Event]) -> StoredRun:
        stored = await self._call(self._store.append, run_id, events)
        if stored is None:
            raise RunNotFoundError(run_id)
        await self._announce(stored)
        return stored

    async def _announce(self, stored: StoredRun) -> None:
        """Tell watchers, metrics and the queue that a run has changed."""
        run = stored.run
        if run.state not in history.ACTIVE:
            self._heard.pop(run.id, None)
            self._cancelling.pop(run.id, None)
            self._pausing.discard(run.id)
            self._wake.set()
        self._metrics.run(run)
        async with self._changed:
            self._sequences[run.id] = stored.sequence
            self._changed.notify_all()

    async def _stored(self, run_id: str) -> StoredRun:
        stored = await self._call(self._store.get, run_id)
        if stored is None:
            raise RunNotFoundError(run_id)
        return stored

    async def _call(self, method: Callable[..., T], *arguments: object) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._database, method, *arguments)


def _job(run: run_pb2.Run) -> str:
    """The job of the run's present attempt."""
    return Launch(run.id, run.attempt, "", "").job
