"""Reading, before training begins, from a place that may be slow or out of reach for now."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from sumgrad.trainer.server.rounds.rounds import Rounds
from sumgrad.trainer.server.saving.snapshot_keeper import AGAIN_SECONDS
from sumgrad.trainer.snapshots.snapshot import UnreachableError

READ_SECONDS = 600.0
"""What cannot be read within this time is given up."""

T = TypeVar("T")


def read_with_retries(
    call: Callable[[], T],
    rounds: Rounds,
    warn: Callable[[str], None],
    clock: Callable[[], float],
) -> T:
    """Make a call again and again until it succeeds; what it returns.

    It is made in a thread of its own, because workers give up a server that is silent.

    Args:
        rounds: receives messages meanwhile.
        warn: receives a sentence about each failure.

    Raises:
        UnreachableError: the place cannot be read, for READ_SECONDS or because a pause is requested
            meanwhile; nothing is lost.
        Exception: whatever else the call raises.
    """
    end, failures = clock() + READ_SECONDS, 0
    while True:
        answer = _begin(call)
        if not rounds.attend(answer.done, end - clock()):
            raise UnreachableError(f"what is to be read does not come in {READ_SECONDS:.0f} s")
        try:
            return answer.result()
        except UnreachableError as error:
            again = min(clock() + AGAIN_SECONDS, end)
            failures += 1
            if failures & (failures - 1) == 0:
                warn(
                    f"the run waits, trying again every {AGAIN_SECONDS:.0f} s (failures in a row: "
                    f"{failures}): {error}"
                )
            rounds.attend(lambda: rounds.pausing, again - clock())
            if rounds.pausing or clock() >= end:
                raise


def _begin(call: Callable[[], T]) -> Future[T]:
    answer: Future[T] = Future()

    def read() -> None:
        try:
            answer.set_result(call())
        except Exception as error:  # whoever waits for the answer is to have it
            answer.set_exception(error)

    # A daemon: a place that never answers shall not keep the process from ending.
    threading.Thread(target=read, name="reading", daemon=True).start()
    return answer
