"""Save snapshots while training goes on."""

from __future__ import annotations

import copy
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sumgrad.layers.base.arrays import Array
from sumgrad.trainer.snapshots.snapshot import Snapshot
from sumgrad.trainer.snapshots.snapshot_store import SnapshotStore


@dataclass(frozen=True)
class Outcome:
    """The outcome of a save.

    Attributes:
        error: why it failed; None if it did not.
        seconds: its duration.
        size: of its arrays, in bytes.
    """

    step: int
    error: Exception | None
    seconds: float = field(default=0.0, compare=False)
    size: int = field(default=0, compare=False)


class BackgroundWriter:
    """Saves in its own thread, one snapshot at a time.

    It holds one copy of each array, and reuses it in the next save. Call its methods from one
    thread only.
    """

    def __init__(self, store: SnapshotStore) -> None:
        self._store = store
        self._copies: dict[str, Array] = {}
        self._outcomes: deque[Outcome] = deque()
        self._thread: threading.Thread | None = None
        self._closed = False

    def offer(self, step: int, arrays: Mapping[str, Array], document: dict[str, Any]) -> bool:
        """Begin to save a copy of the arguments, which the caller may change afterwards.

        Returns:
            False, and nothing is copied, if a save is in progress or the writer is closed.
        """
        if self._closed or not self.idle():
            return False
        self._copies = {name: self._copy(name, array) for name, array in arrays.items()}
        snapshot = Snapshot(step, self._copies, copy.deepcopy(document))
        # A daemon, so that a store that never answers does not keep the process alive.
        self._thread = threading.Thread(
            target=self._save, args=(snapshot,), name="snapshot", daemon=True
        )
        self._thread.start()
        return True

    def finished(self) -> Outcome | None:
        """The next outcome of a finished save, each once and in order; does not wait."""
        if not self.idle() or not self._outcomes:
            return None
        return self._outcomes.popleft()

    def close(self, seconds: float) -> bool:
        """Wait for the save in progress and accept no more.

        Returns:
            Whether the save has ended; if not, it goes on until the process ends.
        """
        self._closed = True
        if self._thread is not None:
            self._thread.join(seconds)
        return self.idle()

    def idle(self) -> bool:
        """Whether no save is in progress."""
        return self._thread is None or not self._thread.is_alive()

    def _copy(self, name: str, array: Array) -> Array:
        found = self._copies.get(name)
        if found is None or (found.shape, found.dtype) != (array.shape, array.dtype):
            found = np.empty_like(array)
        np.copyto(found, array)
        return found

    def _save(self, snapshot: Snapshot) -> None:
        error, started = None, time.perf_counter()
        try:
            self._store.save(snapshot)
        except Exception as caught:  # whatever it is, it becomes the outcome
            error = caught
        seconds = time.perf_counter() - started
        size = sum(array.nbytes for array in snapshot.arrays.values())
        self._outcomes.append(Outcome(snapshot.step, error, seconds, size))
