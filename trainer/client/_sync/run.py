"""One run, in the hands of a program that waits."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sumgrad.trainer.client.prediction import Prediction
from sumgrad.trainer.client.requests import Curves
from sumgrad.trainer.v1 import run_pb2, service_pb2

if TYPE_CHECKING:
    from sumgrad.trainer.client._sync.client import Client


class RunHandle:
    """The client's calls for one run; see Client for what they raise.

    Attributes:
        info: the run as it was at the last call that told.
    """

    def __init__(self, client: Client, info: run_pb2.Run) -> None:
        self._client = client
        self.info = info

    @property
    def id(self) -> str:
        return self.info.id

    def __repr__(self) -> str:
        return f"RunHandle({self.id!r})"

    def refresh(self) -> run_pb2.Run:
        """The run as it is."""
        return self._seen(self._client.get(self.id))

    def watch(
        self, *, after: int | None = None, timeout: float | None = None
    ) -> Iterator[service_pb2.WatchRunResponse]:
        """A snapshot, then every event until the run has ended; see Client.watch."""
        return self._client.watch(self.id, after=after, timeout=timeout)

    def wait(self, timeout: float | None = None) -> run_pb2.Run:
        """The run when it has ended."""
        return self._seen(self._client.wait(self.id, timeout))

    def cancel(self) -> run_pb2.Run:
        """Have the run stopped."""
        return self._seen(self._client.cancel(self.id))

    def pause(self) -> run_pb2.Run:
        """Have the run stop at a snapshot."""
        return self._seen(self._client.pause(self.id))

    def resume(self) -> run_pb2.Run:
        """Have the paused run go on."""
        return self._seen(self._client.resume(self.id))

    def scale(self, workers: int) -> run_pb2.Run:
        """Give the run another number of workers."""
        return self._seen(self._client.scale(self.id, workers))

    def delete(self) -> None:
        """Forget the run, which has ended, and its files."""
        self._client.delete(self.id)

    def events(self) -> Iterator[run_pb2.Event]:
        """What has happened so far, oldest first."""
        return self._client.events(self.id)

    def points(self, *series: str, max_points: int = 0) -> Curves:
        """The curves so far, by the names of their series; see Client.points."""
        return self._client.points(self.id, *series, max_points=max_points)

    def logs(
        self, *, follow: bool = False, after: int = 0, sources: Collection[str] = ()
    ) -> Iterator[service_pb2.StreamLogsResponse]:
        """What its processes have logged; see Client.logs."""
        return self._client.logs(self.id, follow=follow, after=after, sources=sources)

    def weights(self, step: int | None = None) -> dict[str, NDArray[np.float32]]:
        """Every parameter by its name; see Client.download."""
        return self._client.download(self.id, step)

    def save_weights(self, output: Path, step: int | None = None) -> service_pb2.WeightsFile:
        """Write the weights to a safetensors file; see Client.save_weights."""
        return self._client.save_weights(self.id, output, step)

    def predict(self, x: ArrayLike, step: int | None = None) -> Prediction:
        """What the network gives for rows; see Client.predict."""
        return self._client.predict(self.id, x, step)

    def _seen(self, info: run_pb2.Run) -> run_pb2.Run:
        self.info = info
        return info
