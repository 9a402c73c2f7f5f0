"""Attempts at the runs of a service: launch them, look after them, do what the policy decides."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from sumgrad.trainer.record import states
from sumgrad.trainer.service.access.tls import Tls
from sumgrad.trainer.service.cluster import attempt_policy as policy
from sumgrad.trainer.service.cluster.attempt_policy import Attempt, AttemptPolicy, LaunchOutcome
from sumgrad.trainer.service.cluster.launcher import JobState, Launch, Launcher, job_name
from sumgrad.trainer.service.cluster.ray_api import RayError, RayUnreachableError
from sumgrad.trainer.service.runs import transitions
from sumgrad.trainer.service.runs.runs import Runs
from sumgrad.trainer.service.runs.watching import LOOK_UP_SECONDS
from sumgrad.trainer.service.store.store_errors import StoreError
from sumgrad.trainer.service.takeover.takeover import Takeover
from sumgrad.trainer.spec.messages import spec_of
from sumgrad.trainer.spec.run_spec import RunSpec
from sumgrad.trainer.spec.violations import InvalidSpecError
from sumgrad.trainer.v1 import run_pb2

MAX_DECIDING_SHARE = 0.1
"""Of the time, spent on deciding which runs start, however long the queue is."""

_LOG = logging.getLogger(__name__)


class Attempts:
    """Launches the runs of a service and looks after those that are active.

    What happens is reported to the policy, see ``attempt_policy``; its instructions are carried
    out here.

    Args:
        confined: returns a specification within the operator's roots; raises InvalidSpecError for
            what it may not name.
        service_address, service_tls: where runners find the service.
    """

    def __init__(
        self,
        runs: Runs,
        launcher: Launcher,
        confined: Callable[[RunSpec], RunSpec],
        service_address: str,
        service_tls: Tls | None,
    ) -> None:
        self._service_address = service_address
        self._service_tls = service_tls
        self._runs = runs
        self._launcher = launcher
        self._confined = confined
        self._policy = AttemptPolicy()
        self._takeover = Takeover(runs, self._is_over)
        self._deciding_seconds = 0.0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take over the runs of ended services, and begin to launch what is queued."""
        await self._ask_cluster()
        await self._takeover.begin()
        self._task = asyncio.create_task(self._keep_looking())

    async def close(self) -> None:
        """Stop launching; end the runs of a temporary service as cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self._takeover.end()
        except StoreError as error:
            _LOG.error("what the next service has to close is left open: %s", error)

    def runner_called(self, run_id: str, attempt: int) -> None:
        """Record that the runner of an active attempt sent something."""
        self._policy.handle(policy.RunnerCalled(Attempt(run_id, attempt)), time.monotonic())

    async def look_once(self) -> None:
        """Launch the runs that are to start, and look at each active attempt."""
        await self._runs.write(self._runs.instance.live)
        active = [stored.run for stored in await self._runs.mine(states.ACTIVE)]
        await self._runs.settle_queue()
        await self._ask_cluster()
        await self._handle(policy.LookBegan(frozenset(map(_attempt, active))))
        for run in active:
            cancel = run.stop_requested == run_pb2.STOP_CANCEL
            alive = self._launcher.alive()
            await self._handle(policy.AttemptActive(_attempt(run), cancel, alive))
        await self._takeover.go_on()

    async def _keep_looking(self) -> None:
        while True:
            self._runs.wake.clear()
            try:
                await self.look_once()
            except StoreError as error:
                _LOG.error("runs cannot be looked after, trying again: %s", error)
            except Exception:  # a full disk, say: the runs are looked after again when it is over
                _LOG.exception("runs could not be looked after; trying again")
            await asyncio.sleep(min(LOOK_UP_SECONDS, self._deciding_seconds / MAX_DECIDING_SHARE))
            # Not asyncio.wait_for: in Python 3.11 it can swallow the cancellation that ends this.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_UP_SECONDS):
                    await self._runs.wake.wait()

    async def _handle(self, event: policy.Event) -> None:
        """Report an event to the policy and carry out its instructions."""
        for instruction in self._policy.handle(event, time.monotonic()):
            await self._carry_out(instruction)

    async def _carry_out(self, instruction: policy.Instruction) -> None:
        match instruction:
            case policy.HoldQueue(reason):
                if reason:
                    _LOG.warning("%s; runs wait for it", reason)
                self._runs.queue.hold(reason)
            case policy.StartRuns():
                await self._start_runs()
            case policy.InspectJob(attempt):
                await self._inspect_job(attempt)
            case policy.StopJob(attempt):
                await self._launcher.stop_job(_job(attempt))
            case policy.Warn(Attempt(run_id, number), message):
                await self._runs.change(run_id, transitions.warn, number, message)
            case policy.BreakOff(Attempt(run_id, number), reason, again):
                await self._runs.change(run_id, transitions.break_off, number, reason, again)
            case policy.Cancel(Attempt(run_id, number)):
                await self._runs.change(run_id, transitions.overdue, number)
            case policy.Fail(Attempt(run_id, number), reason):
                await self._runs.change(run_id, transitions.fail, number, reason)
            case _:
                assert_never(instruction)

    async def _ask_cluster(self) -> None:
        """Ask how many CPUs the cluster has."""
        event: policy.Event
        try:
            event = policy.ClusterAnswered(int(sum(await self._launcher.cpus())))
        except RayError as error:
            event = policy.ClusterUnavailable(str(error))
        await self._handle(event)
        self._runs.queue.cores = self._policy.cores

    async def _inspect_job(self, attempt: Attempt) -> None:
        """Ask whether the job of an attempt has ended."""
        job = _job(attempt)
        match await self._launcher.state(job):
            case JobState.ENDED:
                last_line = await self._launcher.log_tail(job)
                await self._handle(policy.JobEnded(attempt, last_line))
            case JobState.UNKNOWN:
                await self._handle(policy.JobUnknown(attempt))

    async def _start_runs(self) -> None:
        """Launch the runs that the queue starts, and ask those to stop that it preempts."""
        began = time.monotonic()
        decision = self._runs.queue.decide()
        self._deciding_seconds = time.monotonic() - began
        for run_id, by in decision.preempt.items():
            await self._runs.change(run_id, transitions.preempt, self._runs.me, by)
        for run_id in decision.start:
            await self._launch(run_id)

    async def _launch(self, run_id: str) -> None:
        """Begin an attempt at a queued run."""
        token = secrets.token_urlsafe(32)
        launched = await self._runs.change(run_id, transitions.launch, self._runs.me, token)
        if not launched.events:
            self._runs.doubt_queue()
            return
        run = launched.stored.run
        outcome, reason = LaunchOutcome.TAKEN, ""
        try:
            if not await self._submit(run, token):
                return
        except StoreError:  # the next look finds the attempt active, and its runner silent
            raise
        except RayUnreachableError as error:
            outcome, reason = LaunchOutcome.UNREACHABLE, str(error)
        except (RayError, OSError) as error:
            outcome, reason = LaunchOutcome.REFUSED, str(error)
        except (InvalidSpecError, RuntimeError) as error:
            outcome, reason = LaunchOutcome.IMPOSSIBLE, str(error)
        except Exception as error:  # whatever is wrong with one run, the queue goes on
            _LOG.exception("run %s could not be launched", run_id)
            outcome, reason = LaunchOutcome.IMPOSSIBLE, f"{type(error).__name__}: {error}"
        # Ray may repeat what it was given, and clients and logs see the reason.
        reason = reason.replace(token, "[token]")
        await self._handle(policy.LaunchEnded(_attempt(run), outcome, reason))

    async def _submit(self, run: run_pb2.Run, token: str) -> bool:
        """Hand the job of an attempt to the cluster.

        Returns:
            False if the attempt was over before its job was handed over.

        Raises:
            InvalidSpecError: the run names what it may not name.
            RayError: see Launcher.launch.
        """
        # Again: a link may lead elsewhere by now, and roots may be others since a restart. The
        # run's processes look again at each file that they open.
        await asyncio.to_thread(self._confined, spec_of(run.spec))
        await self._launcher.start()
        now = await self._runs.change(run.id, transitions.stop_before_launch, run.attempt)
        if now.stored.token != token:  # the attempt is over, or another service's affair
            return False
        await self._launcher.launch(self._launch_of(run, token))
        return True

    def _launch_of(self, run: run_pb2.Run, token: str) -> Launch:
        launch = Launch(run.id, run.attempt, token, self._service_address)
        if self._service_tls is None:
            return launch
        tls = self._service_tls
        return replace(launch, certificate=tls.certificate, certificate_name=tls.name)

    async def _is_over(self, run: run_pb2.Run) -> bool:
        """Whether the job of the run's present attempt is known to have ended."""
        if self._policy.unavailable:
            return False
        return await self._launcher.state(_job(_attempt(run))) == JobState.ENDED


def _attempt(run: run_pb2.Run) -> Attempt:
    """The run's present attempt."""
    return Attempt(run.id, run.attempt)


def _job(attempt: Attempt) -> str:
    return job_name(attempt.run_id, attempt.number)
