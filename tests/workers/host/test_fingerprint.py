"""A host's fingerprint, and what becomes of a worker that has another one."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import current_thread, main_thread

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from sumgrad.trainer.server.training_plan import TrainingPlan
from sumgrad.trainer.v1 import runner_pb2
from sumgrad.workers.host import probe as module
from sumgrad.workers.host.fingerprint import Fingerprint
from sumgrad.workers.host.probe import fingerprint
from sumgrad.workers.serving import RefusedError

from support.leftovers import nothing_left_behind
from support.repository import ROOT
from support.training import PLAN, SECONDS, played, running, task_of, train, word_to


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with threadpool_limits(1), nothing_left_behind():
        yield


@pytest.fixture
def plan(tmp_path: Path) -> TrainingPlan:
    return dataclasses.replace(PLAN, steps=3, weights_path=tmp_path / "w.safetensors")


@pytest.mark.slow
def test_another_process_of_the_host_has_the_same_fingerprint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    code = "import scipy.linalg, sumgrad.workers.host.probe as p; print(p.fingerprint().digest)"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == fingerprint().digest


def test_the_number_of_threads_is_told_and_counts_only_by_what_it_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PRODUCTS", ((3, 5, 7),))  # too small for a second thread
    one = fingerprint()
    with threadpool_limits(2):
        two = fingerprint()
    assert two.digest == one.digest
    assert two.differences(one.parts) == "threads 2 instead of 1"


@pytest.mark.parametrize("name", ["exp", "tanh", "log", "sqrt"])
def test_a_function_that_rounds_otherwise_is_another_fingerprint(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint()
    function = module._FUNCTIONS[name]

    def rounded(x: np.ndarray) -> np.ndarray:
        y = function(x)
        y[-1] = np.nextafter(y[-1], y.dtype.type(0))
        return y

    monkeypatch.setitem(module._FUNCTIONS, name, rounded)
    after = fingerprint()
    assert after.digest != before.digest
    assert after.differences(before.parts) == name


def test_another_library_is_another_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint()
    monkeypatch.setattr(np, "__version__", "9.9")
    after = fingerprint()
    assert after.digest != before.digest
    assert after.differences(before.parts) == f"numpy 9.9 instead of {before.parts['numpy']}"


def test_a_part_that_one_side_does_not_know_differs() -> None:
    assert Fingerprint("a", {"core": "Zen"}).differences({}) == "core Zen instead of unknown"
    assert Fingerprint("a", {}).differences({"core": "Zen"}) == "core unknown instead of Zen"


# At the server. Workers that a test plays join from its own thread, and have other bits.


@pytest.fixture
def other_bits(monkeypatch: pytest.MonkeyPatch) -> str:
    """How the difference is told."""
    own = fingerprint()
    other = Fingerprint("0" * 64, own.parts | {"core": "Elbrus"})
    monkeypatch.setattr(
        "sumgrad.workers.channel.worker_endpoint.fingerprint",
        lambda: other if current_thread() is main_thread() else own,
    )
    return f"stranger computes with other bits (core Elbrus instead of {own.parts['core']})"


def warnings(reports: list[runner_pb2.RunReport]) -> list[str]:
    return [r.warning.message for r in reports if r.WhichOneof("kind") == "warning"]


def test_a_worker_with_other_bits_is_refused_and_named(plan: TrainingPlan, other_bits: str) -> None:
    undisturbed = train(plan)
    with running(plan, "w", "stranger") as run, played(run, "stranger") as stranger:
        run.start("w")
        message = stranger.receive(SECONDS)
        reports = run.reports()
        run.workers[0].end()
    assert message is not None
    refusal = message.stop.refused
    assert refusal.startswith(f"{other_bits}, so it was refused; ")
    assert warnings(reports) == [refusal]
    result = reports[-1].finished
    assert result.workers == 1
    assert result.bitwise
    assert result.weights_digest == undisturbed.weights_digest


def test_a_run_whose_only_worker_is_refused_fails(plan: TrainingPlan, other_bits: str) -> None:
    with running(plan, "stranger") as run, played(run, "stranger") as stranger:
        assert run.fail().startswith(f"{other_bits}, so it was refused; use hosts of one kind")
        message = stranger.receive(SECONDS)
        assert message is not None
        assert message.stop.refused


def test_a_refused_worker_fails_no_run_that_another_worker_works_at(
    plan: TrainingPlan, other_bits: str
) -> None:
    undisturbed = train(plan)
    with running(plan, "w") as run:
        run.start("w")
        run.until("membership")
        # As if the run had been scaled to two: one is lost, and the other is on an odd host.
        run.lose("w")
        with played(run, "stranger") as stranger:
            assert word_to(stranger).stop.refused
            run.start("w.1")
            reports = run.reports()
        for worker in run.workers:
            worker.end()
    assert other_bits in "".join(warnings(reports))
    assert reports[-1].finished.weights_digest == undisturbed.weights_digest


def test_a_run_fails_when_the_last_worker_of_every_slot_was_refused(
    plan: TrainingPlan, other_bits: str
) -> None:
    with running(dataclasses.replace(plan, steps=None, epochs=1000), "w") as run:
        run.start("w")
        run.until("membership")
        run.lose("w")
        with played(run, "stranger") as stranger, played(run, "w.1") as replacement:
            assert word_to(stranger).stop.refused
            assert word_to(replacement).stop.refused
            assert "computes with other bits" in run.fail()
        run.workers[0].end()


def test_a_refused_worker_ends_with_the_reason(
    plan: TrainingPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Fingerprint("0" * 64, {})
    monkeypatch.setattr("sumgrad.workers.channel.worker_endpoint.fingerprint", lambda: other)
    with running(plan, "w") as run:
        run.start("w")
        reason = run.fail()
        with pytest.raises(RefusedError) as caught:
            run.workers[0].end()
    assert str(caught.value) == reason


def test_where_any_bits_will_do_the_result_says_that_it_is_not_bitwise(
    plan: TrainingPlan, other_bits: str
) -> None:
    tolerant = dataclasses.replace(plan, fingerprint="any")
    with running(tolerant, "w", "stranger") as run, played(run, "stranger") as stranger:
        run.start("w")
        task_of(stranger)
        run.lose("stranger")
        reports = run.reports()
        run.workers[0].end()
    result = reports[-1].finished
    assert result.HasField("bitwise")
    assert not result.bitwise
    assert result.not_bitwise_because == other_bits
    assert warnings(reports) == [f"{other_bits}; the result is not bitwise"]


@pytest.mark.parametrize("policy", ["strict", "any"])
def test_workers_of_one_kind_give_a_bitwise_result(plan: TrainingPlan, policy: str) -> None:
    result = train(dataclasses.replace(plan, fingerprint=policy), 2)
    assert result.bitwise
    assert not result.not_bitwise_because
