"""Attempts at runs: when one begins, whether it goes on, what becomes of it if it breaks off."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Collection
from dataclasses import replace

from sumgrad.trainer.record import states
from sumgrad.trainer.service.access.tls import Tls
from sumgrad.trainer.service.cluster.launcher import JobState, Launch, Launcher
from sumgrad.trainer.service.cluster.ray_api import RayError, RayUnreachableError
from sumgrad.trainer.service.runs import transitions
from sumgrad.trainer.service.runs.runs import Runs
from sumgrad.trainer.service.runs.stored_run import StoredRun
from sumgrad.trainer.service.runs.watching import LOOK_UP_SECONDS
from sumgrad.trainer.service.store.store_errors import StoreError
from sumgrad.trainer.service.takeover.takeover import Succession
from sumgrad.trainer.spec.messages import to_document
from sumgrad.trainer.spec.parse import parse
from sumgrad.trainer.spec.run_spec import RunSpec
from sumgrad.trainer.spec.violations import InvalidSpecError
from sumgrad.trainer.v1 import run_pb2

SILENCE_SECONDS = 2.0
"""A runner reports twice a second; one that is silent for longer is asked after."""

LOST_SECONDS = 120.0
"""A runner that is silent for this long has failed, whatever Ray says of it."""

CANCEL_SECONDS = 10.0
"""A runner that was told to stop has this long before its job is ended."""

DECIDING_SHARE = 0.1
"""At most this share of the time goes into deciding what starts, however long the queue is."""

UNTOLD_CORES = 256
"""What a cluster is taken to have that has not said: enough for the largest run."""

_LOG = logging.getLogger(__name__)


class Attempts:
    """Launches the runs of a service, and looks after those that were launched.

    Args:
        confined: a specification within the operator's roots; raises InvalidSpecError for what it
            may not name.

    Attributes:
        cores: CPUs that runs can use, of all nodes, as last heard; at least 1.
        service_address, service_tls: where runners find the service.
    """

    def __init__(
        self, runs: Runs, launcher: Launcher, confined: Callable[[RunSpec], RunSpec]
    ) -> None:
        self.cores = UNTOLD_CORES
        self.service_address = ""
        self.service_tls: Tls | None = None
        self._runs = runs
        self._launcher = launcher
        self._confined = confined
        self._succession = Succession(runs, self._is_over)
        # Why the cluster does not answer, and which runs were told so.
        self._silence = ""
        self._told: set[str] = set()
        self._deciding = 0.0
        # Of active runs: when the runner last called, and since when it is known here that the
        # run is to be cancelled.
        self._heard: dict[str, float] = {}
        self._cancelling: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take over what ended services left, and begin to launch what is queued."""
        await self._ask_cluster()
        await self._succession.begin()
        self._task = asyncio.create_task(self._look_after_runs())

    async def close(self) -> None:
        """Stop launching; runs of a temporary service are ended as cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self._succession.end()
        except StoreError as error:
            _LOG.error("what the next service has to close is left open: %s", error)

    def heard(self, run_id: str) -> None:
        """The runner of a run that is active has called."""
        self._heard[run_id] = time.monotonic()

    async def _look_after_runs(self) -> None:
        while True:
            self._runs.wake.clear()
            try:
                await self.look_once()
            except StoreError as error:
                _LOG.error("runs cannot be looked after, trying again: %s", error)
            except Exception:  # a full disk, say: the runs are looked after again when it is over
                _LOG.exception("runs could not be looked after; trying again")
            await asyncio.sleep(min(LOOK_UP_SECONDS, self._deciding / DECIDING_SHARE))
            # Not asyncio.wait_for: in Python 3.11 it can swallow the cancellation that ends this.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_UP_SECONDS):
                    await self._runs.wake.wait()

    async def look_once(self) -> None:
        """Launch what is to start, and see to what goes on."""
        await self._runs.write(self._runs.instance.live)
        active = await self._runs.mine(states.ACTIVE)
        self._forget_all_but({stored.run.id for stored in active})
        await self._runs.settle_queue()
        if await self._ask_cluster():
            await self._decide()
        for stored in active:
            await self._look_after(stored)
        await self._succession.go_on()

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
            self._runs.queue.hold(str(error))
            return False
        self._silence = ""
        self._told.clear()
        # One that has no nodes for now may get some, and says nothing of how many.
        self.cores = cores or UNTOLD_CORES
        self._runs.queue.hold("" if cores else "the Ray cluster has no CPUs")
        return cores > 0

    async def _decide(self) -> None:
        """Launch what is to start, and tell what is to give way."""
        began = time.monotonic()
        decision = self._runs.queue.decide()
        self._deciding = time.monotonic() - began
        for run_id, by in decision.preempt.items():
            await self._runs.change(run_id, transitions.preempt, self._runs.me, by)
        for run_id in decision.start:
            await self._launch(run_id)

    async def _launch(self, run_id: str) -> None:
        token = secrets.token_urlsafe(32)
        launched = await self._runs.change(run_id, transitions.launch, self._runs.me, token)
        if not launched.events:
            self._runs.doubt_queue()
            return
        run = launched.stored.run
        try:
            # Again: a link may lead elsewhere by now, and roots may be others since a restart. The
            # run's processes look again at each file that they open.
            await asyncio.to_thread(self._confined, parse(to_document(run.spec)))
            await self._launcher.start()
            now = await self._runs.change(run_id, transitions.stop_before_launch, run.attempt)
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
        await self._runs.change(run.id, transitions.fail, run.attempt, reason)

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
            await self._runs.change(run.id, transitions.overdue, run.attempt)
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
            await self._runs.change(run.id, transitions.warn, run.attempt, message)

    async def _try_again(
        self, run: run_pb2.Run, reason: str, again: str = transitions.GOES_ON
    ) -> None:
        """Queue a run whose attempt broke off."""
        await self._runs.change(run.id, transitions.break_off, run.attempt, reason, again)

    async def _is_over(self, run: run_pb2.Run) -> bool:
        return not self._silence and await self._launcher.state(_job(run)) == JobState.ENDED


def _job(run: run_pb2.Run) -> str:
    """The job of the run's present attempt."""
    return Launch(run.id, run.attempt, "", "").job


def _without(token: str, error: Exception) -> str:
    """What an error says: Ray may repeat what it was given, and clients and logs are told of it."""
    return str(error).replace(token, "[token]")
