"""Runs as Ray jobs: launch, ask, stop."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from trainer.service.local_ray import LocalRay

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

ENTRYPOINT = f"{sys.executable} -m trainer.runner"
"""What every job runs. Nothing of it comes from a client."""

ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""One BLAS thread in every process of a job, set before NumPy is loaded there: the workers are the
parallelism, and the number of threads picks the kernel and so the bits."""


class JobState(Enum):
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
        return f"sumgrad-{self.run_id}-{self.attempt}"

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
    """Jobs on a Ray that is started with the first of them."""

    def __init__(self, cores: int) -> None:
        self._ray = LocalRay(cores)
        self._client: JobSubmissionClient | None = None
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Have Ray ready.

        Raises:
            RayError: it cannot be had.
        """
        async with self._starting:
            if self._client is None or not self._ray.alive():
                await asyncio.to_thread(self._ray.stop)
                await asyncio.to_thread(self._ray.start)
                self._client = await asyncio.to_thread(self._connect)

    def _connect(self) -> JobSubmissionClient:
        from ray.job_submission import JobSubmissionClient

        return JobSubmissionClient(self._ray.dashboard, headers=self._ray.headers)

    async def launch(self, launch: Launch) -> None:
        """Hand a run to Ray.

        Raises:
            RayError, RuntimeError: Ray did not take it.
        """
        await self.start()
        assert self._client is not None
        await asyncio.to_thread(
            self._client.submit_job,
            entrypoint=ENTRYPOINT,
            submission_id=launch.job,
            runtime_env={"env_vars": ONE_THREAD},
            # For the driver alone. What is in a runtime environment, Ray has on the command lines
            # of its processes and in its logs.
            metadata=launch.environment(),
            entrypoint_num_cpus=0,
        )

    def alive(self) -> bool:
        """Whether the Ray that jobs were handed to still runs; a dead one is started again."""
        return self._ray.alive()

    async def state(self, job: str) -> JobState:
        """Whether the job's driver still runs, as far as Ray can say."""
        if self._client is None:
            return JobState.UNKNOWN
        try:
            status = await asyncio.to_thread(self._client.get_job_status, job)
        except (RuntimeError, OSError):
            return JobState.UNKNOWN
        return JobState.ENDED if status.is_terminal() else JobState.ALIVE

    async def log_tail(self, job: str) -> str:
        """The last line that the job's driver printed."""
        if self._client is None:
            return ""
        try:
            logs = await asyncio.to_thread(self._client.get_job_logs, job)
        except (RuntimeError, OSError):
            return ""
        lines = logs.strip().splitlines()
        return lines[-1][:500] if lines else ""

    async def stop_job(self, job: str) -> None:
        """End the job's processes, if Ray still knows it."""
        if self._client is None:
            return
        try:
            await asyncio.to_thread(self._client.stop_job, job)
        except (RuntimeError, OSError):
            return

    async def close(self) -> None:
        self._client = None
        await asyncio.to_thread(self._ray.stop)
