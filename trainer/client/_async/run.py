"""One run, for programs on an event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sumgrad.trainer.client.prediction import Prediction
from sumgrad.trainer.client.requests import Curves
from sumgrad.trainer.v1 import run_pb2, service_pb2

if TYPE_CHECKING:
    from sumgrad.trainer.client._async.client import AsyncClient


class AsyncRunHandle:
    """The client's calls for one run; see AsyncClient for what they raise.

    Attributes:
        info: the run as the last call returned it.
    """

    def __init__(self, client: AsyncClient, info: run_pb2.Run) -> None:
        self._client = client
        self.info = info

    @property
    def id(self) -> str:
        return self.info.id

    def __repr__(self) -> str:
        return f"AsyncRunHandle({self.id!r})"

    async def refresh(self) -> run_pb2.Run:
        """The run as it is."""
        return self._seen(await self._client.get(self.id))

    def watch(
        self, *, after: int | None = None, timeout: float | None = None
    ) -> AsyncGenerator[service_pb2.WatchRunResponse, None]:
        """A snapshot, then every event until the run has ended; see AsyncClient.watch."""
        return self._client.watch(self.id, after=after, timeout=timeout)

    async def wait(self, timeout: float | None = None) -> run_pb2.Run:
        """The run when it has ended."""
        return self._seen(await self._client.wait(self.id, timeout))

    async def cancel(self) -> run_pb2.Run:
        """Have the run stopped."""
        return self._seen(await self._client.cancel(self.id))

    async def pause(self) -> run_pb2.Run:
        """Have the run stop at a snapshot."""
        return self._seen(await self._client.pause(self.id))

    async def resume(self) -> run_pb2.Run:
        """Have the paused run go on."""
        return self._seen(await self._client.resume(self.id))

    async def scale(self, workers: int) -> run_pb2.Run:
        """Give the run another number of workers."""
        return self._seen(await self._client.scale(self.id, workers))

    async def delete(self) -> None:
        """Forget the run, which has ended, and its files."""
        await self._client.delete(self.id)

    def events(self) -> AsyncGenerator[run_pb2.Event, None]:
        """What has happened so far, oldest first."""
        return self._client.events(self.id)

    async def points(self, *series: str, max_points: int = 0) -> Curves:
        """The curves so far, by the names of their series; see AsyncClient.points."""
        return await self._client.points(self.id, *series, max_points=max_points)

    def logs(
        self, *, follow: bool = False, after: int = 0, sources: Collection[str] = ()
    ) -> AsyncGenerator[service_pb2.StreamLogsResponse, None]:
        """What its processes have logged; see AsyncClient.logs."""
        return self._client.logs(self.id, follow=follow, after=after, sources=sources)

    async def weights(self, step: int | None = None) -> dict[str, NDArray[np.float32]]:
        """Every parameter by its name; see AsyncClient.download."""
        return await self._client.download(self.id, step)

    async def save_weights(self, output: Path, step: int | None = None) -> service_pb2.WeightsFile:
        """Write the weights to a safetensors file; see AsyncClient.save_weights."""
        return await self._client.save_weights(self.id, output, step)

    async def predict(self, x: ArrayLike, step: int | None = None) -> Prediction:
        """What the network gives for rows; see AsyncClient.predict."""
        return await self._client.predict(self.id, x, step)

    def _seen(self, info: run_pb2.Run) -> run_pb2.Run:
        self.info = info
        return info
