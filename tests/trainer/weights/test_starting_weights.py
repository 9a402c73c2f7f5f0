"""Training that starts from a checkpoint, and training that stops before its length."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from threadpoolctl import threadpool_limits

from sumgrad.layers.base.arrays import Array
from sumgrad.trainer.arithmetic.schedules import Cosine
from sumgrad.trainer.arithmetic.update_rules import SGD, Descent
from sumgrad.trainer.server.training_plan import TrainingPlan
from sumgrad.trainer.snapshots.snapshot import Snapshot, SnapshotError
from sumgrad.trainer.snapshots.snapshot_store import SnapshotStore
from sumgrad.trainer.v1 import run_pb2
from sumgrad.trainer.weights.layout import digest
from sumgrad.trainer.weights.starting_weights import starting_weights
from sumgrad.trainer.weights.weight_file import tensors, write_weights

from support.interrupted import PLANS, in_folder, interrupt, resumed_at, run_to_end
from support.leftovers import nothing_left_behind
from support.server_process import PromptWriter
from support.training import PLAN, epochs_of, network, running, train


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(
        "sumgrad.trainer.server.saving.snapshot_keeper.BackgroundWriter", PromptWriter
    )
    with threadpool_limits(1), nothing_left_behind():
        yield


def numbered() -> Array:
    """A flat vector of which every element is another."""
    return np.arange(network().size, dtype=np.float32)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "given" / "weights.safetensors"
    write_weights(path, network(), numbered() / 1e5, {"name": "given"})
    return path


# --- what is read ------------------------------------------------------------------------------


def test_a_weights_file_gives_the_flat_vector(weights: Path) -> None:
    assert (starting_weights(str(weights), network()) == numbered() / np.float32(1e5)).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["the folder", "the manifest", "the arrays"])
def test_a_snapshot_gives_the_weights_of_its_step(tmp_path: Path, kind: str) -> None:
    plan = in_folder(PLAN, tmp_path)
    interrupt(plan, 11, workers=1)
    folder = tmp_path / "snapshots"
    expected = train(dataclasses.replace(PLAN, steps=8, weights_path=tmp_path / "w8.safetensors"))
    suffix = {"the manifest": ".json", "the arrays": ".safetensors"}.get(kind)
    name = folder if suffix is None else max(folder.glob(f"*{suffix}"))
    found = starting_weights(str(name), network())
    assert digest(network(), found) == expected.weights_digest


def edited(folder: Path, **changes: Array | None) -> Path:
    """The network's weights with other arrays; None takes one away."""
    arrays: dict[str, Any] = {**tensors(network(), numbered())}
    for name, array in changes.items():
        if array is None:
            del arrays[name]
        else:
            arrays[name] = array
    path = folder / "edited.safetensors"
    path.write_bytes(
        safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in arrays.items()})
    )
    return path


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"1.W": None, "2.b": None}, "it has no 1.W"),
        ({"2.W": np.zeros((10, 23), np.float32)}, "2.W is 10×23 there and 10×24 in the network"),
        ({"1.b": np.zeros(24)}, "1.b is float64 there and must be float32"),
        ({"3.W": np.zeros(2, np.float32)}, "the network has no 3.W"),
    ],
)
def test_the_first_parameter_that_does_not_fit_is_named(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    path = edited(tmp_path, **changes)
    with pytest.raises(SnapshotError) as caught:
        starting_weights(str(path), network())
    assert str(caught.value) == f"The checkpoint {path} does not fit the network: {problem}."


def test_a_snapshot_of_another_network_does_not_fit(tmp_path: Path) -> None:
    interrupt(in_folder(PLANS["adam"], tmp_path), 11, workers=1)  # a dropout layer more
    with pytest.raises(SnapshotError, match=r"does not fit the network: it has no 2\.W\."):
        starting_weights(str(tmp_path / "snapshots"), network())


def test_a_snapshot_that_does_not_name_its_weights_is_refused(tmp_path: Path) -> None:
    SnapshotStore(str(tmp_path), 1).save(Snapshot(3, {"weights": numbered()}, {"more": {}}))
    with pytest.raises(SnapshotError, match="does not say which weights it holds"):
        starting_weights(str(tmp_path), network())


def test_a_folder_without_snapshots_is_refused(tmp_path: Path) -> None:
    for name in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(SnapshotError, match="is neither a snapshot nor weights"):
            starting_weights(str(name), network())


# --- what is trained ---------------------------------------------------------------------------


@pytest.mark.slow
def test_starting_from_what_would_be_drawn_changes_no_bit(tmp_path: Path, weights: Path) -> None:
    expected = train(dataclasses.replace(PLAN, weights_path=tmp_path / "w.safetensors"))
    drawn = tmp_path / "drawn.safetensors"
    write_weights(drawn, network(), network().init(PLAN.job.seed), {})
    for start, same in ((drawn, True), (weights, False)):
        other = tmp_path / "other.safetensors"
        plan = dataclasses.replace(PLAN, start_from=str(start), weights_path=other)
        assert (train(plan, 2).weights_digest == expected.weights_digest) == same


@pytest.mark.slow
def test_two_halves_of_plain_descent_are_the_whole(tmp_path: Path) -> None:
    """Full batches: the second half draws the first rows again, and then in another order."""
    job = dataclasses.replace(PLAN.job, batch_size=None)

    def trained(steps: int, start: str | None = None) -> run_pb2.Result:
        return train(
            dataclasses.replace(
                PLAN,
                job=job,
                descent=Descent(SGD(0.5)),
                steps=steps,
                start_from=start,
                weights_path=tmp_path / f"{steps}{start is None}.safetensors",
            )
        )

    def flat(result: run_pb2.Result) -> Array:
        return starting_weights(result.weights_path, network())

    whole, half = trained(6), trained(3)
    second = trained(3, half.weights_path)
    np.testing.assert_allclose(flat(second), flat(whole), rtol=0, atol=1e-5)
    assert np.abs(flat(half) - flat(whole)).max() > 1e-2
    assert second.receipt.start_digest == half.weights_digest
    assert not whole.receipt.start_digest


@pytest.mark.slow
def test_the_rule_and_the_step_start_afresh(tmp_path: Path, weights: Path) -> None:
    """What the checkpoint's run left behind beside its weights has no effect."""
    plan = in_folder(PLAN, tmp_path)
    interrupt(plan, 11, workers=1)
    snapshots = tmp_path / "snapshots"
    alone = tmp_path / "alone.safetensors"
    write_weights(alone, network(), starting_weights(str(snapshots), network()), {})
    results = [
        train(
            dataclasses.replace(
                PLAN, start_from=str(start), weights_path=tmp_path / f"{index}.safetensors"
            )
        )
        for index, start in enumerate((snapshots, alone))
    ]
    assert results[0].weights_digest == results[1].weights_digest
    assert results[0].steps == PLAN.steps


@pytest.mark.slow
def test_an_interrupted_run_goes_on_from_its_own_snapshot(tmp_path: Path, weights: Path) -> None:
    plan = in_folder(dataclasses.replace(PLAN, start_from=str(weights)), tmp_path)
    expected = train(dataclasses.replace(plan, snapshots=None))
    interrupt(plan, 11, workers=2)
    weights.unlink()  # not needed any more
    reports = run_to_end(plan, 1)
    assert resumed_at(reports) == [8]
    result = reports[-1].finished
    assert result.weights_digest == expected.weights_digest
    assert result.receipt == expected.receipt
    assert result.receipt.start_digest == digest(network(), numbered() / np.float32(1e5))


def test_a_checkpoint_that_is_gone_fails_the_run(tmp_path: Path) -> None:
    plan = in_folder(dataclasses.replace(PLAN, start_from="/nowhere.safetensors"), tmp_path)
    with running(plan, "w") as run:
        run.start("w")
        assert run.fail().startswith("The checkpoint /nowhere.safetensors cannot be read (No such")
        run.workers[0].end()


# --- what is left out at the end ---------------------------------------------------------------


@pytest.fixture
def long(tmp_path: Path) -> TrainingPlan:
    """Three epochs whose every step depends on the length."""
    return dataclasses.replace(
        PLAN,
        steps=None,
        epochs=3,
        schedule=Cosine(0.1),
        warmup_steps=5,
        weights_path=tmp_path / "w.safetensors",
    )


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_a_run_that_stops_after_a_step_has_the_bits_of_the_whole_one_there(
    long: TrainingPlan, workers: int
) -> None:
    whole, _ = epochs_of(long)
    part, result = epochs_of(dataclasses.replace(long, stop_after=24))
    assert [epoch.step for epoch in whole] == [12, 24, 36]
    assert part == whole[:2]
    assert (result.steps, result.epochs, result.stopped_early) == (24, 2, False)
    assert result.weights_digest == whole[1].weights_digest
    assert len({epoch.weights_digest for epoch in whole}) == 3
    again = train(dataclasses.replace(long, stop_after=24), workers)
    assert again.weights_digest == result.weights_digest


def test_a_run_may_stop_within_an_epoch(long: TrainingPlan) -> None:
    epochs, result = epochs_of(dataclasses.replace(long, stop_after=17))
    assert [epoch.step for epoch in epochs] == [12, 17]
    assert (result.steps, result.epochs) == (17, 2)
    assert epochs[-1].weights_digest == result.weights_digest


@pytest.mark.slow
def test_the_length_of_a_run_is_not_changed_by_a_stop_at_its_end(long: TrainingPlan) -> None:
    assert epochs_of(dataclasses.replace(long, stop_after=36))[0] == epochs_of(long)[0]


def test_progress_is_told_up_to_where_the_run_stops(long: TrainingPlan) -> None:
    reports = run_to_end(dataclasses.replace(long, stop_after=17), 1)
    last = [r.progress for r in reports if r.WhichOneof("kind") == "progress"][-1]
    assert (last.step, last.steps, last.epoch, last.epochs) == (17, 17, 2, 2)
    assert last.seconds_left == 0


@pytest.mark.slow
def test_an_interrupted_run_stops_where_it_was_to_stop(long: TrainingPlan, tmp_path: Path) -> None:
    part = dataclasses.replace(long, stop_after=17)
    expected = train(part)
    plan = in_folder(part, tmp_path)
    interrupt(plan, 15, workers=1)
    reports = run_to_end(plan, 2)
    assert resumed_at(reports) == [12]
    result = reports[-1].finished
    assert (result.steps, result.weights_digest) == (17, expected.weights_digest)
