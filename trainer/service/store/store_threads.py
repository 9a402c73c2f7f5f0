"""Threads in which an event loop calls the run store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

READERS = 2
"""Threads that read. They are not the writer's, whose fsync takes milliseconds."""

T = TypeVar("T")


class StoreThreads:
    """One thread for writes, in order, and others for reads."""

    def __init__(self) -> None:
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store writer")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store reader")

    async def write(self, method: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, method, *arguments)

    async def read(self, method: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, method, *arguments)

    def close(self) -> None:
        """Wait for calls under way, and end the threads."""
        self._writer.shutdown()
        self._readers.shutdown()
