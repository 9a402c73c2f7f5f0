"""In the place of Ray, for what measures the service alone."""

from __future__ import annotations

import asyncio
import os

from sumgrad.trainer.service.cluster.launcher import JobState, Launch


class PlayedLauncher:
    """Takes every run, and nothing ever happens to it.

    Attributes:
        last: the newest launch.
        launched: set when there was one.
    """

    def __init__(self, *_: object) -> None:
        self.last = Launch("r-00000000", 1, "", "")
        self.launched = asyncio.Event()

    async def start(self) -> None:
        pass

    async def launch(self, launch: Launch) -> None:
        self.last = launch
        self.launched.set()

    def alive(self) -> bool:
        return True

    async def cpus(self) -> tuple[float, ...]:
        return (float(os.cpu_count() or 1),)

    async def state(self, _job: str) -> JobState:
        return JobState.ALIVE

    async def log_tail(self, _job: str) -> str:
        return ""

    async def stop_job(self, _job: str) -> None:
        pass

    async def close(self) -> None:
        pass
