"""Verification: what of a run to replay, and how the bits compare.

Pure functions of two runs and their events.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sumgrad.trainer.errors import UsageError
from sumgrad.trainer.record import receipt
from sumgrad.trainer.record.enum_names import state_name
from sumgrad.trainer.spec.messages import to_document
from sumgrad.trainer.v1 import run_pb2


class CannotVerifyError(UsageError):
    """There is nothing to compare a replay with; the message says what to do."""


@dataclass(frozen=True)
class Mark:
    """A digest of the weights that the record of a run has.

    Attributes:
        step: steps done then.
        epoch: the epoch that was over; None for the weights of the result.
    """

    step: int
    epoch: int | None
    weights_digest: str

    def __str__(self) -> str:
        place = "the final weights" if self.epoch is None else f"epoch {self.epoch}"
        return f"{place} (step {self.step})"


@dataclass(frozen=True)
class Comparison:
    """What a replay has shown.

    Attributes:
        compared: digests of the record that were held against the replay's, by step.
        equal: how many of them the replay has too.
        first: the first that it has not, with the replay's digest, empty where it has none.
        receipts: what differs in how the results came to be, as clauses; None where the run has
            no receipt.
    """

    compared: tuple[Mark, ...]
    equal: int
    first: tuple[Mark, str] | None
    receipts: tuple[str, ...] | None

    @property
    def same(self) -> bool:
        return self.first is None


def marks(events: Iterable[run_pb2.Event]) -> list[Mark]:
    """The digests of a run's epochs; an epoch that an interruption had done twice has two."""
    epochs = (event.epoch for event in events if event.HasField("epoch"))
    return [Mark(e.step, e.epoch, e.weights_digest) for e in epochs if e.weights_digest]


def replayed_steps(run: run_pb2.Run, recorded: Sequence[Mark], steps: int | None) -> int | None:
    """After which step to stop a replay: the last one with a digest, or None to do all of it.

    Args:
        steps: at the most so many; None for the whole run.

    Raises:
        CannotVerifyError: there is no digest to compare with.
    """
    done = sorted({mark.step for mark in recorded})
    if steps is None:
        if run.HasField("result"):
            return None
        advice = f"use --steps with {done[0]} or more" if done else "it has no digest so far"
        raise CannotVerifyError(
            f"run {run.id} has no result, because it is {state_name(run.state)}: {advice}"
        )
    if run.HasField("result") and steps >= run.result.steps:
        return None
    if not done:
        raise CannotVerifyError(
            f"the record of run {run.id} has no digest of an epoch, so there is nothing to compare"
            + (": leave out --steps" if run.HasField("result") else "")
        )
    if steps < done[0]:
        raise CannotVerifyError(
            f"run {run.id} has its first digest at step {done[0]}: use --steps with {done[0]} or "
            f"more, got {steps}"
        )
    return max(step for step in done if step <= steps)


def replay(run: run_pb2.Run, workers: int | None, stop_after: int | None) -> dict[str, Any]:
    """The specification of a run that does again what this one did.

    Args:
        workers: instead of the run's own number.
        stop_after: the step to stop after; None where the run stopped.
    """
    document = to_document(run.spec)
    document["name"] = f"verify {run.id}"
    document.pop("faults", None)
    document.pop("snapshots", None)  # their place may be one that other runs share
    document["workers"]["count"] = workers or run.workers or run.spec.workers.count
    if stop_after is not None:
        document["train"]["stop_after"] = stop_after
    return document


def compare(
    run: run_pb2.Run,
    recorded: Sequence[Mark],
    replayed_run: run_pb2.Run,
    replayed: Sequence[Mark],
) -> Comparison:
    """Hold the record of a run against its replay.

    Args:
        recorded, replayed: digests of the epochs of both.
        replayed_run: has a result.
    """
    now, stop_after = replayed_run.result, replayed_run.spec.train.stop_after
    digests = {mark.step: mark.weights_digest for mark in replayed}
    pairs = [(mark, digests.get(mark.step, "")) for mark in sorted(recorded, key=_step)]
    if run.HasField("result") and stop_after == run.spec.train.stop_after:
        final = Mark(run.result.steps, None, run.result.weights_digest)
        pairs.append((final, now.weights_digest if now.steps == final.step else ""))
    else:
        pairs = [pair for pair in pairs if pair[0].step <= stop_after]
    unequal = [pair for pair in pairs if pair[0].weights_digest != pair[1]]
    return Comparison(
        tuple(mark for mark, _ in pairs),
        len(pairs) - len(unequal),
        unequal[0] if unequal else None,
        _receipts(run, now.receipt),
    )


def _receipts(run: run_pb2.Run, now: run_pb2.Receipt) -> tuple[str, ...] | None:
    if not run.result.HasField("receipt"):
        return None
    then = run.result.receipt
    found = receipt.differences(then, now)
    if then.spec_digest != receipt.spec_digest(to_document(run.spec)):
        found.insert(0, "the recorded specification is not the one that the receipt names")
    return tuple(found)


def _step(mark: Mark) -> int:
    return mark.step
