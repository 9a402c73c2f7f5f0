"""Jobs on a Ray cluster: launch, inspect, stop."""

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
"""Entry point of every job. Nothing of it comes from a client."""

ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""One BLAS thread in every process of a job, set before NumPy is loaded there: parallelism comes
from the workers, and the number of threads selects the kernel and so the bits."""

ENDED_STATUSES = frozenset({"STOPPED", "SUCCEEDED", "FAILED"})
"""Ray's names for the final states of a job."""

T = TypeVar("T")


class JobState(Enum):
    """What is known of a job.

    ENDED includes a job that the cluster does not know, as when the cluster was replaced. UNKNOWN
    means that the cluster did not answer: the job may be alive.
    """

    ALIVE = "alive"
    ENDED = "ended"
    UNKNOWN = "unknown"


def job_name(run_id: str, attempt: int) -> str:
    """Ray's name for the job of an attempt."""
    return f"sumgrad-{run_id}-{attempt}"


@dataclass(frozen=True)
class Launch:
    """What a job hands to the runner of one attempt.

    Attributes:
        certificate: the service's, in PEM, the only one that the runner trusts; empty without TLS.
        certificate_name: a host name that the certificate is valid for.
    """

    run_id: str
    attempt: int
    token: str = field(repr=False)
    service: str
    certificate: str = ""
    certificate_name: str = ""

    @property
    def job(self) -> str:
        return job_name(self.run_id, self.attempt)

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
    """Jobs on one Ray cluster. A cluster of the service's own is started with the first job.

    Args:
        sends_code: whether our packages travel with each job; otherwise the cluster's Python has
            them installed.
    """

    def __init__(self, ray: Cluster, sends_code: bool) -> None:
        self._ray = ray
        self._sends_code = sends_code
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Start Ray unless it runs.

        Raises:
            RayError: it did not start.
        """
        async with self._starting:
            if not self._ray.alive():
                await asyncio.to_thread(self._ray.stop)
                await asyncio.to_thread(self._ray.start)

    async def cpus(self) -> tuple[float, ...]:
        """CPUs of each node that jobs can use.

        Raises:
            RayError: the cluster did not answer, or refused.
        """
        return await self._asked(self._ray.cpus)

    async def launch(self, launch: Launch) -> None:
        """Submit the job of an attempt, and stop that of the attempt before.

        Raises:
            RayUnreachableError: the cluster may or may not have the job.
            RayError: the cluster does not have the job.
        """
        await self.start()
        if launch.attempt > 1:
            await self.stop_job(job_name(launch.run_id, launch.attempt - 1))
        await self._asked(self._submit, launch)

    def _submit(self, launch: Launch) -> None:
        api = self._api()
        runtime_env: dict[str, Any] = {"env_vars": ONE_THREAD}
        if self._sends_code:
            runtime_env["working_dir"] = api.put_package(*code_package())
        # The token goes into the metadata, which only the driver gets: Ray puts the runtime
        # environment on command lines and into its logs.
        entrypoint = f"{self._ray.python} {RUNNER}"
        api.submit(launch.job, entrypoint, runtime_env, launch.environment())

    def alive(self) -> bool:
        """Whether the Ray that the service started runs; ``start`` starts a dead one again.

        True for a cluster that the service did not start, whose state only its answers show.
        """
        return self._ray.alive()

    async def state(self, job: str) -> JobState:
        """Whether the job's driver runs."""
        if not self._ray.alive():
            return JobState.ENDED  # jobs end with the service's own Ray
        try:
            status = await self._asked(lambda: self._api().status(job))
        except RayError:
            return JobState.UNKNOWN
        return JobState.ENDED if status is None or status in ENDED_STATUSES else JobState.ALIVE

    async def log_tail(self, job: str) -> str:
        """The last line that an ended job's driver printed, or why there is none."""
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
        """End the job's processes, if the cluster answers and knows it."""
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
        except UsageError as error:  # the token's file was removed
            raise RayError(str(error)) from None
