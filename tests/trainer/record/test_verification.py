"""A run's record is held against a replay: what is compared, what is said, and the command."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sumgrad.trainer.cli import app as command_line
from sumgrad.trainer.cli.exit_codes import ExitCode
from sumgrad.trainer.record.receipt import spec_digest
from sumgrad.trainer.record.verification import (
    CannotVerifyError,
    Mark,
    compare,
    marks,
    replay,
    replayed_steps,
)
from sumgrad.trainer.spec.messages import to_document, to_message
from sumgrad.trainer.spec.parse import parse
from sumgrad.trainer.v1 import run_pb2

from support.services import PlayedRunner, RunningService
from support.waiting import SECONDS

STEPS = (23, 46)
EPOCHS = [Mark(23, 1, "one"), Mark(46, 2, "two")]
SUCCEEDED, FAILED = run_pb2.RUN_STATE_SUCCEEDED, run_pb2.RUN_STATE_FAILED


def epoch(mark: Mark) -> run_pb2.Epoch:
    return run_pb2.Epoch(epoch=mark.epoch or 0, step=mark.step, weights_digest=mark.weights_digest)


def result(content: run_pb2.RunSpec, **fields: Any) -> run_pb2.Result:
    """What a run of these epochs ends with."""
    receipt = run_pb2.Receipt(
        spec_digest=spec_digest(to_document(content)), code_version="1", data_digest="d" * 64
    )
    figures: dict[str, Any] = {"steps": 46, "epochs": 2, "weights_digest": "two"}
    return run_pb2.Result(**figures | {"receipt": receipt} | fields)


@pytest.fixture
def run(document: dict[str, Any]) -> run_pb2.Run:
    """A run that has succeeded."""
    content = to_message(parse(document))
    return run_pb2.Run(id="r-1", spec=content, state=SUCCEEDED, workers=3, result=result(content))


@pytest.fixture
def failed(run: run_pb2.Run) -> run_pb2.Run:
    found = run_pb2.Run()
    found.CopyFrom(run)
    found.ClearField("result")
    found.state = FAILED
    return found


def replay_of(run: run_pb2.Run, stop_after: int | None = None, **fields: Any) -> run_pb2.Run:
    """A replay that has come to its end."""
    content = to_message(parse(replay(run, None, stop_after)))
    ended = result(content, **fields)
    return run_pb2.Run(id="r-2", spec=content, state=SUCCEEDED, result=ended)


# --- what is replayed --------------------------------------------------------------------------


def test_the_marks_are_the_digests_of_epochs_in_order() -> None:
    events = [
        run_pb2.Event(progress=run_pb2.Progress(step=3)),
        run_pb2.Event(epoch=epoch(EPOCHS[0])),
        run_pb2.Event(epoch=run_pb2.Epoch(epoch=9, step=9)),  # of a version without digests
        run_pb2.Event(epoch=epoch(EPOCHS[1])),
    ]
    assert marks(events) == EPOCHS


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(None, None), (23, 23), (24, 23), (45, 23), (46, None), (10**9, None)],
)
def test_a_replay_stops_at_the_last_digest_that_may_be_reached(
    run: run_pb2.Run, steps: int | None, expected: int | None
) -> None:
    assert replayed_steps(run, EPOCHS, steps) == expected


@pytest.mark.parametrize(("steps", "expected"), [(23, 23), (45, 23), (46, 46), (10**9, 46)])
def test_a_run_without_a_result_is_replayed_up_to_a_digest(
    failed: run_pb2.Run, steps: int, expected: int
) -> None:
    assert replayed_steps(failed, EPOCHS, steps) == expected


@pytest.mark.parametrize(
    ("recorded", "steps", "message"),
    [
        (EPOCHS, None, "run r-1 has no result, because it is failed: use --steps with 23 or more"),
        ([], None, "run r-1 has no result, because it is failed: it has no digest so far"),
        (
            EPOCHS,
            22,
            "run r-1 has its first digest at step 23: use --steps with 23 or more, got 22",
        ),
        (
            [],
            5,
            "the record of run r-1 has no digest of an epoch, so there is nothing to compare",
        ),
    ],
)
def test_where_there_is_nothing_to_compare_the_error_says_what_to_do(
    failed: run_pb2.Run, recorded: list[Mark], steps: int | None, message: str
) -> None:
    with pytest.raises(CannotVerifyError) as caught:
        replayed_steps(failed, recorded, steps)
    assert str(caught.value) == message


def test_a_replay_is_the_same_specification_without_drills(run: run_pb2.Run) -> None:
    before = to_document(run.spec)
    run.spec.snapshots.location = "/shared"
    run.spec.faults.add(target="server", step=3)
    found = replay(run, None, None)
    assert spec_digest(found) == spec_digest(before)
    assert found["name"] == "verify r-1"
    assert found["workers"] == before["workers"] | {"count": 3}
    assert "faults" not in found
    assert "location" not in found.get("snapshots", {})
    assert parse(found)


def test_a_replay_has_the_workers_and_the_end_that_are_asked_for(run: run_pb2.Run) -> None:
    found = replay(run, 1, 23)
    assert found["workers"]["count"] == 1
    assert found["train"]["stop_after"] == 23
    assert found["train"]["epochs"] == 2


# --- what is compared --------------------------------------------------------------------------


def test_equal_digests_are_the_same_bits(run: run_pb2.Run) -> None:
    found = compare(run, EPOCHS, replay_of(run), EPOCHS)
    assert found.same
    assert found.equal == len(found.compared) == 3
    assert found.compared[-1] == Mark(46, None, "two")
    assert found.receipts == ()


def test_the_first_of_several_differences_is_named(run: run_pb2.Run) -> None:
    replayed = [Mark(23, 1, "another"), Mark(46, 2, "too")]
    found = compare(run, EPOCHS, replay_of(run, weights_digest="too"), replayed)
    assert not found.same
    assert (found.equal, found.first) == (0, (EPOCHS[0], "another"))


def test_an_epoch_in_the_middle_that_differs_is_enough(run: run_pb2.Run) -> None:
    found = compare(run, [Mark(23, 1, "forged"), EPOCHS[1]], replay_of(run), EPOCHS)
    assert (found.equal, found.first) == (2, (Mark(23, 1, "forged"), "one"))


def test_an_epoch_that_was_done_twice_counts_twice(run: run_pb2.Run) -> None:
    twice = [EPOCHS[0], Mark(46, 2, "before the crash"), EPOCHS[1]]
    found = compare(run, twice, replay_of(run), EPOCHS)
    assert (found.equal, found.first) == (3, (Mark(46, 2, "before the crash"), "two"))


def test_a_final_digest_that_differs_is_named_after_the_epochs(run: run_pb2.Run) -> None:
    run.result.weights_digest = "forged"
    found = compare(run, EPOCHS, replay_of(run), EPOCHS)
    assert found.first == (Mark(46, None, "forged"), "two")
    assert str(found.first[0]) == "the final weights (step 46)"


def test_a_replay_that_ends_at_another_step_differs(run: run_pb2.Run) -> None:
    found = compare(run, EPOCHS[:1], replay_of(run, steps=69), EPOCHS)
    assert found.first == (Mark(46, None, "two"), "")


def test_an_epoch_that_the_replay_did_not_come_to_differs(run: run_pb2.Run) -> None:
    found = compare(run, EPOCHS, replay_of(run, steps=23), EPOCHS[:1])
    assert found.first == (EPOCHS[1], "")


def test_of_a_part_only_that_part_is_compared(run: run_pb2.Run) -> None:
    part = replay_of(run, stop_after=23, steps=23, weights_digest="of the best epoch")
    found = compare(run, EPOCHS, part, EPOCHS[:1])
    assert found.same
    assert found.compared == (EPOCHS[0],)


def test_a_run_that_itself_was_to_stop_early_is_compared_to_its_end(run: run_pb2.Run) -> None:
    run.spec.train.stop_after = 46
    run.result.CopyFrom(result(run.spec))
    found = compare(run, EPOCHS, replay_of(run), EPOCHS)
    assert (found.same, len(found.compared), found.receipts) == (True, 3, ())


def test_without_a_result_epochs_are_compared_and_there_is_no_receipt(failed: run_pb2.Run) -> None:
    found = compare(failed, EPOCHS, replay_of(failed, stop_after=46), EPOCHS)
    assert (found.same, found.compared, found.receipts) == (True, tuple(EPOCHS), None)


def test_what_of_the_receipts_differs_is_said(run: run_pb2.Run) -> None:
    run.result.receipt.code_version = "0"
    found = compare(run, EPOCHS, replay_of(run), EPOCHS)
    assert found.receipts == ("code 1 instead of 0",)


def test_a_specification_that_is_not_the_receipts_is_said(run: run_pb2.Run) -> None:
    run.spec.seed += 1
    found = compare(run, EPOCHS, replay_of(run), EPOCHS)
    assert found.receipts == ("the recorded specification is not the one that the receipt names",)


# --- the command, with a service whose runners the test plays ----------------------------------

Sumgrad = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def sumgrad(
    service: RunningService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Sumgrad:
    """A command on the service: exit code, stdout, lines of stderr."""

    def call(*arguments: str) -> tuple[int, str, list[str]]:
        monkeypatch.setattr(sys, "argv", ["sumgrad", *arguments, "--address", service.address])
        code = command_line.run()
        out, err = capsys.readouterr()
        return code, out, err.splitlines()

    return call


def play(runner: PlayedRunner, **fields: Any) -> run_pb2.RunSpec:
    """Be the runner of a run of two epochs; what it was asked for."""
    taken: run_pb2.RunSpec = runner.take().spec
    last = taken.train.stop_after or 46
    for mark in EPOCHS:
        if mark.step <= last:
            runner.report(epoch=epoch(mark))
    runner.report(finished=result(taken, steps=last, **fields))
    return taken


def recorded(service: RunningService, document: dict[str, Any], **fields: Any) -> str:
    """The id of a run that has succeeded."""
    run_id = service.client.submit(document).id
    play(service.next_runner(), **fields)
    return run_id


@pytest.mark.slow
def test_a_run_that_is_replayed_with_the_same_bits_is_verified(
    service: RunningService, document: dict[str, Any], sumgrad: Sumgrad
) -> None:
    run_id = recorded(service, document)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: play(service.next_runner()))
        code, out, _ = sumgrad("verify", run_id, "--workers", "1")
        assert asked.result(SECONDS).workers.count == 1
    assert code == ExitCode.OK
    replayed = service.client.list(1)[0]
    assert replayed.spec.name == f"verify {run_id}"
    assert out.splitlines() == [
        f"run             {run_id}",
        f"replay          {replayed.id}, 1 worker(s)",
        "compared        2 epochs and the final weights",
        "equal           all, bit for bit",
        "weights digest  two",
        "receipt         same code, data and fingerprint",
    ]


@pytest.mark.slow
def test_other_bits_have_an_exit_code_of_their_own(
    service: RunningService, document: dict[str, Any], sumgrad: Sumgrad
) -> None:
    """Here the record is wrong: the replay has another final digest, and other code."""
    forged = result(to_message(parse(document))).receipt
    forged.code_version = "0"
    run_id = recorded(service, document, weights_digest="forged", receipt=forged)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: play(service.next_runner()))
        code, out, _ = sumgrad("verify", run_id)
    assert code == ExitCode.OTHER_BITS == 5
    assert out.splitlines()[3:] == [
        "equal           2 of 3",
        "first differs   the final weights (step 46)",
        "recorded        forged",
        "replayed        two",
        "receipt         code 1 instead of 0",
    ]


@pytest.mark.slow
def test_a_part_is_verified_and_told_in_json(
    service: RunningService, document: dict[str, Any], sumgrad: Sumgrad
) -> None:
    run_id = recorded(service, document)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: play(service.next_runner()))
        code, out, _ = sumgrad("verify", run_id, "--steps", "40", "--json")
        assert asked.result(SECONDS).train.stop_after == 23
    assert code == ExitCode.OK
    assert json.loads(out) == {
        "run": run_id,
        "replay": service.client.list(1)[0].id,
        "workers": 2,
        "same": True,
        "compared": 1,
        "equal": 1,
        "first_difference": None,
        "receipt_differences": [],
        "not_bitwise_because": None,
        "last_step": 23,
        "weights_digest": "one",
    }


@pytest.mark.slow
def test_a_replay_that_fails_compares_nothing(
    service: RunningService, document: dict[str, Any], sumgrad: Sumgrad
) -> None:
    run_id = recorded(service, document)

    def fail() -> None:
        runner = service.next_runner()
        runner.take()
        runner.report(failed={"message": "the data are gone"})

    with ThreadPoolExecutor(1) as pool:
        pool.submit(fail)
        code, _, err = sumgrad("verify", run_id)
    assert code == ExitCode.RUN_FAILED
    assert err[-1].endswith(" is failed, so nothing was compared")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--steps", "22"), "has its first digest at step 23: use --steps with 23 or more, got 22"),
        (("--steps", "0"), "greater than or equal to 1"),
        (("--workers", "5"), "error: workers.count: must be at most the 4 shards of a batch, got"),
    ],
)
def test_what_cannot_be_verified_is_bad_input(
    service: RunningService,
    document: dict[str, Any],
    sumgrad: Sumgrad,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    run_id = recorded(service, document)
    code, _, err = sumgrad("verify", run_id, *arguments)
    assert code == ExitCode.BAD_INPUT
    assert message in "\n".join(err)
    assert len(service.client.list()) == 1


def test_an_unknown_run_cannot_be_verified(sumgrad: Sumgrad) -> None:
    code, _, err = sumgrad("verify", "r-nowhere")
    assert code == ExitCode.BAD_INPUT
    assert err == ["error: there is no run 'r-nowhere'; `sumgrad list` shows all"]


@pytest.mark.slow
def test_show_has_the_receipt_and_the_digests_on_the_way(
    service: RunningService, document: dict[str, Any], sumgrad: Sumgrad
) -> None:
    run_id = recorded(service, document)
    code, out, _ = sumgrad("show", run_id, "--json")
    assert code == ExitCode.OK
    shown = json.loads(out)
    assert shown["receipt"]["data_digest"] == "d" * 64
    assert shown["receipt"]["start_digest"] is None
    assert shown["digests"] == [
        {"step": 23, "epoch": 1, "weights_digest": "one"},
        {"step": 46, "epoch": 2, "weights_digest": "two"},
    ]
