"""A service inside another program, for as long as one command lasts."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from sumgrad.trainer.service.service import Service, StartedService
from sumgrad.trainer.service.settings import Settings


class EmbeddedService:
    """A service on free ports, in a thread of its own; a context manager.

    Attributes:
        address, metrics_address: where it serves gRPC and /metrics, once entered.
    """

    def __init__(self, state: Path, **settings: Any) -> None:
        self._service = Service(
            Settings(
                state=state,
                address="127.0.0.1:0",
                metrics_address="127.0.0.1:0",
                temporary=True,
                **settings,
            )
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="service")
        self.address = ""
        self.metrics_address: str | None = None

    def __enter__(self) -> EmbeddedService:
        self._thread.start()
        try:
            started = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        except BaseException:
            self._end_loop()
            raise
        self.address, self.metrics_address = started.address, started.metrics_address
        return self

    async def _start(self) -> StartedService:
        async with AsyncExitStack() as stack:
            started = await stack.enter_async_context(self._service)
            await started.ready()
            stack.pop_all()
        return started

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stop = self._service.__aexit__(None, None, None)
        try:
            asyncio.run_coroutine_threadsafe(stop, self._loop).result()
        finally:
            self._end_loop()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
