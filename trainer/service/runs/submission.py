"""New runs, the plans of runs, and other worker counts: what is checked before it is stored."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping

from sumgrad.trainer.record import states
from sumgrad.trainer.record.events import new_event, now, state_event
from sumgrad.trainer.service.access.caller import LOCAL_ADMIN, Caller, PriorityNotAllowedError, Role
from sumgrad.trainer.service.access.confinement import Confinement, Unconfined
from sumgrad.trainer.service.api.request_limits import (
    check_labels,
    check_request_id,
    check_spec_size,
)
from sumgrad.trainer.service.api.run_errors import QueueFullError, WorkersError
from sumgrad.trainer.service.queue import scheduling
from sumgrad.trainer.service.runs import transitions
from sumgrad.trainer.service.runs.runs import Runs
from sumgrad.trainer.spec.fit import check_against_data, describe_data
from sumgrad.trainer.spec.messages import spec_of, to_message
from sumgrad.trainer.spec.run_spec import RunSpec
from sumgrad.trainer.spec.violations import InvalidSpecError, Violation
from sumgrad.trainer.study.describe import describe
from sumgrad.trainer.v1 import run_pb2, service_pb2


class Submission:
    """Checks what clients ask for against the data, the cluster and the limits of users.

    Args:
        confinement: which files and addresses specifications may name.
    """

    def __init__(self, runs: Runs, confinement: Confinement | Unconfined) -> None:
        self._runs = runs
        self._queue = runs.queue
        self._confined = confinement.confined

    async def submit(
        self,
        message: run_pb2.RunSpec,
        request_id: str = "",
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
        caller: Caller = LOCAL_ADMIN,
    ) -> run_pb2.Run:
        """Check, store and queue a run, once for each request id of a user.

        Returns:
            The run, or the one that was submitted with the request id before.

        Raises:
            InvalidRequestError, RequestConflictError, PriorityNotAllowedError, QueueFullError
            InvalidSpecError: with every mistake that was found; nothing is stored.
        """
        check_request_id(request_id)
        check_labels(labels or {})
        check_spec_size(message)
        spec = spec_of(message)
        run = run_pb2.Run(
            id=f"r-{secrets.token_hex(8)}",
            spec=to_message(spec),
            created=now(),
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
        self._check_waiting(caller.user)
        await self._check(spec)
        events = [state_event(run_pb2.RUN_STATE_QUEUED)]
        cores = self._queue.cores
        if spec.workers.count > cores:
            warning = (
                f"{spec.workers.count} workers share {cores} cores; "
                "they will not be faster than one a core"
            )
            events.append(new_event(warning=run_pb2.Warning(message=warning)))
        stored = await self._runs.write(self._runs.store.create, run, self._runs.me, events)
        if stored.run.id == run.id:
            await self._runs.announce(stored)
        return stored.run

    async def plan(self, message: run_pb2.RunSpec) -> service_pb2.Plan:
        """How much a run of this specification would do.

        Raises:
            InvalidRequestError, InvalidSpecError: ``submit`` would raise the same.
        """
        check_spec_size(message)
        spec = await self._check(spec_of(message))
        found = await asyncio.to_thread(describe, spec)
        return service_pb2.Plan(
            parameters=found.parameters,
            steps=found.steps or 0,
            steps_per_epoch=found.steps_per_epoch or 0,
            batch_size=found.batch_size,
            shards=found.shards,
            workers=found.workers,
        )

    async def scale(self, run_id: str, workers: int) -> run_pb2.Run:
        """Have a run work with another number of workers, now or when it is launched.

        Raises:
            RunNotFoundError, RunEndedError, RunElsewhereError, WorkersError
            InvalidSpecError: its data lies, by now, where it may not.
        """
        stored = await self._runs.get(run_id)
        transitions.check_changeable(stored, self._runs.me)
        run = stored.run
        spec = await asyncio.to_thread(self._confined, spec_of(run.spec))
        data = await asyncio.to_thread(describe_data, spec)
        most = min(scheduling.workers_limit(self._queue.cores), spec.job().sampling(data).shards)
        if not 1 <= workers <= most:
            raise WorkersError(
                run_id,
                f"run {run_id} can have 1 to {most} workers (the shards of its batches, and what "
                f"fits here), got {workers}",
            )
        self._check_cpus_of_user(run, workers)
        changed = await self._runs.change(run_id, transitions.scale, self._runs.me, workers)
        return changed.stored.run

    async def _check(self, spec: RunSpec) -> RunSpec:
        """Check all that depends on this service.

        Returns:
            The specification, confined.

        Raises:
            InvalidSpecError
        """
        # First: nothing outside is looked at, not even for an error message.
        spec = await asyncio.to_thread(self._confined, spec)
        limit = scheduling.workers_limit(self._queue.cores)
        await asyncio.to_thread(check_against_data, spec, limit)
        self._check_can_start(spec.workers.count)
        return spec

    def _check_priority(self, caller: Caller, priority: int) -> None:
        """A high priority stops the runs of others. Raises PriorityNotAllowedError."""
        highest = self._queue.limits.priority
        if caller.role is not Role.ADMIN and priority > highest:
            raise PriorityNotAllowedError(caller, highest, priority)

    def _check_waiting(self, owner: str) -> None:
        """Waiting runs take memory. Raises QueueFullError."""
        most = self._queue.limits.waiting
        if self._queue.waiting_of(owner) >= most:
            raise QueueFullError(owner, most)

    def _check_can_start(self, workers: int) -> None:
        """Refuse a run that would never start. Raises InvalidSpecError."""
        most = self._queue.limits.cpus
        if most is not None and scheduling.run_cpus(workers, self._queue.cores) > most:
            raise InvalidSpecError(
                [
                    Violation(
                        "workers.count",
                        f"must be at most {most} here, the CPUs that one user may have, "
                        f"got {workers}; ask for fewer workers",
                    )
                ]
            )

    def _check_cpus_of_user(self, run: run_pb2.Run, workers: int) -> None:
        """Hold a user's CPUs to their limit. Raises WorkersError."""
        most, cores = self._queue.limits.cpus, self._queue.cores
        cpus = scheduling.run_cpus(workers, cores)
        others = self._queue.cpus_of(run.owner, run.id) if run.state in states.ACTIVE else 0
        grows = cpus > scheduling.run_cpus(run.workers, cores)
        if most is not None and grows and others + cpus > most:
            raise WorkersError(
                run.id,
                f"run {run.id} cannot have {workers} workers: its user may have {most} CPUs, and "
                f"other runs hold {others} of them",
            )
