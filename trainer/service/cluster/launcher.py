"""Runs as Ray jobs: launch, ask, stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.service.cluster.cluster import Cluster
from sumgrad.trainer.service.cluster.code_package import code_package
from sumgrad.trainer.service.cluster.ray_api import RayApi, RayError

RUNNER = "-m sumgrad.trainer.runner"
"""What every job runs. Nothing of it comes from a client."""

ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""One BLAS thread in every process of a job, set before NumPy is loaded there: the workers are the
parallelism, and the number of threads picks the kernel and so the bits."""

ENDED_STATUSES = frozenset({"STOPPED", "SUCCEEDED", "FAILED"})
"""Ray's names for the states that a job does not leave."""

T = TypeVar("T")


class JobState(Enum):
    """What is known of a job.

    ENDED is also a job that the cluster does not know, or does not know any more because it is a
    new cluster. UNKNOWN is one that nobody can be asked about: it may be alive.
    """

    ALIVE = "alive"
    ENDED = "ended"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Launch:
    """What the runner of one attempt is handed with its job.

    Attributes:
        certificate: the service's, PEM, which the runner trusts alone; empty without TLS.
        certificate_name: one that it is for.
    """

    run_id: str
    attempt: int
    token: str = field(repr=False)
    service: str
    certificate: str = ""
    certificate_name: str = ""

    @property
    def job(self) -> str:
        return self.job_of(self.attempt)

    def job_of(self, attempt: int) -> str:
        """The job of an attempt at the same run."""
        return f"sumgrad-{self.run_id}-{attempt}"

    def environment(self) -> dict[str, str]:
        return {
            "SUMGRAD_RUN_ID": self.run_id,
            "SUMGRAD_ATTEMPT": str(self.attempt),
            "SUMGRAD_RUN_TOKEN": self.token,
            "SUMGRAD_SERVICE": self.service,
            "SUMGRAD_SERVICE_CERTIFICATE": self.certificate,
            "SUMGRAD_SERVICE_NAME": self.certificate_name,
        }


class Launcher:
    """Jobs on a Ray, which is started with the first of them if it is ours.

    Args:
        sends_code: our packages travel with each job; otherwise Ray's Python has them.
    """

    def __init__(self, ray: Cluster, sends_code: bool) -> None:
        self._ray = ray
        self._sends_code = sends_code
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Have Ray ready.

        Raises:
            RayError: it cannot be had.
        """
        async with self._starting:
            if not self._ray.alive():
                await asyncio.to_thread(self._ray.stop)
                await asyncio.to_thread(self._ray.start)

    async def cpus(self) -> tuple[float, ...]:
        """CPUs of each node that jobs can use.

        Raises:
            RayError: the cluster does not say.
        """
        return await self._asked(self._ray.cpus)

    async def launch(self, launch: Launch) -> None:
        """Hand a run to Ray.

        Raises:
            RayUnreachableError: Ray may or may not have taken it.
            RayError: Ray did not take it.
        """
        await self.start()
        if launch.attempt > 1:
            await self.stop_job(launch.job_of(launch.attempt - 1))
        await self._asked(self._submit, launch)

    def _submit(self, launch: Launch) -> None:
        api = self._api()
        runtime_env: dict[str, Any] = {"env_vars": ONE_THREAD}
        if self._sends_code:
            runtime_env["working_dir"] = api.put_package(*code_package())
        # What is in a runtime environment, Ray has on the command lines of its processes and in its
        # logs; metadata are for the driver alone.
        entrypoint = f"{self._ray.python} {RUNNER}"
        api.submit(launch.job, entrypoint, runtime_env, launch.environment())

    def alive(self) -> bool:
        """Whether the Ray that jobs were handed to still runs; a dead one is started again.

        Of a cluster of others that is only known by asking it, and so assumed.
        """
        return self._ray.alive()

    async def state(self, job: str) -> JobState:
        """Whether the job's driver still runs."""
        if not self._ray.alive():
            return JobState.ENDED  # our own Ray takes its jobs with it
        try:
            status = await self._asked(lambda: self._api().status(job))
        except RayError:
            return JobState.UNKNOWN
        return JobState.ENDED if status is None or status in ENDED_STATUSES else JobState.ALIVE

    async def log_tail(self, job: str) -> str:
        """The last that is known of an ended job: what its driver printed, or why nothing is."""
        if not self._ray.alive():
            return "the Ray cluster died"
        try:
            status = await self._asked(lambda: self._api().status(job))
            logs = await self._asked(lambda: self._api().logs(job))
        except RayError as error:
            return str(error)
        if status is None:
            return "the Ray cluster does not know its job, which it has lost or never got"
        lines = logs.strip().splitlines()
        return lines[-1][:500] if lines else "it printed nothing"

    async def stop_job(self, job: str) -> None:
        """End the job's processes, if Ray still knows it."""
        if self._ray.alive():
            with contextlib.suppress(RayError):
                await self._asked(lambda: self._api().stop(job))

    async def close(self) -> None:
        await asyncio.to_thread(self._ray.stop)

    def _api(self) -> RayApi:
        return RayApi(self._ray.dashboard, self._ray.headers)

    async def _asked(self, call: Callable[..., T], *arguments: Any) -> T:
        try:
            return await asyncio.to_thread(call, *arguments)
        except UsageError as error:  # a token's file that has gone since
            raise RayError(str(error)) from None
