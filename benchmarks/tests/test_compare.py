"""The benchmarks compare the same things. What they measure is not looked at here."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from sumgrad.layers import Network
from sumgrad.trainer.spec.fit import check_against_data
from sumgrad.trainer.spec.parse import parse

from benchmarks.compare import ours
from benchmarks.compare.memory import lenet_step, new_bytes, working_set
from benchmarks.compare.workloads import CLASSES, WORKLOADS, Workload, write_dataset
from benchmarks.faults.measure import (
    ROWS,
    Endurance,
    Recovery,
    broken_endurance,
    broken_recoveries,
    specification,
    waits,
)

pytest.importorskip("torch", reason="PyTorch comes with the benchmarks: make bench")

from benchmarks.compare import pytorch
from benchmarks.compare.layers import CASES, check, sides
from benchmarks.compare.passes import Case

WORKLOAD = pytest.mark.parametrize("workload", WORKLOADS.values(), ids=lambda w: w.name)
CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("benchmarks") / "images.npz"
    write_dataset(path)
    return path


def network(workload: Workload, data: Path) -> Network:
    spec = parse(ours.specification(workload, data))
    return spec.job().network(check_against_data(spec, ours.WORKERS))


@WORKLOAD
def test_a_workload_is_a_specification_that_the_service_takes(
    workload: Workload, data: Path
) -> None:
    assert network(workload, data).output_shape == (CLASSES,)


@WORKLOAD
def test_both_sides_train_parameters_of_the_same_sizes(workload: Workload, data: Path) -> None:
    here = [math.prod(slot.shape) for slot in network(workload, data).slots]
    there = [math.prod(p.shape) for p in pytorch.network(workload).parameters()]
    assert here == there


def test_runs_with_faults_are_specifications_that_the_service_takes() -> None:
    check_against_data(parse(specification(10, 2)), ours.WORKERS)


def test_a_recovery_lasts_from_the_last_kill_to_the_next_applied_step() -> None:
    assert waits([10.0, 30.0, 31.0, 50.0], [1.0, 12.0, 20.0, 35.0]) == [2.0, 4.0]


KEPT = {row.title: Recovery([row.most or 99.0], []) for row in ROWS}


def test_recoveries_within_their_bounds_are_no_reason_to_fail() -> None:
    assert broken_recoveries(KEPT) == []


@pytest.mark.parametrize(
    ("title", "most"),
    [
        ("worker, another alive", 1),
        ("the only worker", 8),
        ("parameter server", 15),
        ("parameter server and a worker", 15),
    ],
)
def test_one_recovery_that_takes_too_long_is_named(title: str, most: int) -> None:
    [sentence] = broken_recoveries(KEPT | {title: Recovery([0.1, most + 0.01, 0.1], [])})
    assert sentence == (
        f"{title}: the longest recovery took {most}.01 s, and at most {most} s are promised"
    )


@pytest.mark.parametrize(
    ("endurance", "sentences"),
    [
        (Endurance(9, 11, 125.0, (100.0, 100.0)), []),
        (Endurance(9, 11, 126.0, (100.0, 100.0)), ["79.4 % of the throughput"]),
        (Endurance(9, 11, 119.0, (110.0, 110.0)), ["lasted 119 s of 120"]),
        (Endurance(9, 0, 121.0, (120.0, 120.0)), ["only 0 workers were killed"]),
        (
            Endurance(9, 0, 20.0, (10.0, 10.0)),
            ["50.0 % of the throughput", "lasted 20 s of 120", "only 0 workers were killed"],
        ),
    ],
)
def test_a_run_with_kills_that_breaks_a_bound_is_told(
    endurance: Endurance, sentences: list[str]
) -> None:
    found = broken_endurance(endurance, 120.0)
    assert len(found) == len(sentences)
    for sentence, part in zip(found, sentences, strict=True):
        assert part in sentence


@CASE
def test_both_sides_of_a_layer_agree_again_and_again(case: Case) -> None:
    pair = sides(case)
    for _ in range(2):
        for side in pair.values():
            side.forget()
            side.run()
        results = {name: side.results() for name, side in pair.items()}
        check(case.title, results["sumgrad"], results["pytorch"])
        expected = {"y", *case.layer.shapes(case.input_shape).params}
        assert set(results["pytorch"]) == (expected | {"dx"} if case.input_gradient else expected)


@pytest.mark.parametrize("name", ["y", "dx", "K", "b"])
def test_one_element_that_differs_stops_the_comparison(name: str) -> None:
    case = CASES[2]
    pair = sides(case)
    for side in pair.values():
        side.run()
    wrong = {key: value.copy() for key, value in pair["sumgrad"].results().items()}
    largest = np.unravel_index(np.abs(wrong[name]).argmax(), wrong[name].shape)
    wrong[name][largest] *= 1.001
    with pytest.raises(AssertionError, match=f"{name} of convolution, 1→16, 5×5 at 28² differs"):
        check(case.title, wrong, pair["pytorch"].results())


def test_a_result_that_one_side_lacks_stops_the_comparison() -> None:
    y = np.zeros(3, np.float32)
    with pytest.raises(AssertionError, match=r"pool: \['y'\] here, but \['dx', 'y'\] in PyTorch"):
        check("pool", {"y": y}, {"y": y, "dx": y})


def test_im2col_is_counted_as_every_window_of_the_batch() -> None:
    x = np.zeros((64, 14 + 2 * 2, 14 + 2 * 2, 16), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x, (5, 5), axis=(1, 2))
    found = working_set(64)
    assert found.im2col == windows.size * x.itemsize
    assert 0 < found.ours < found.im2col


def test_a_step_of_lenet_allocates_less_than_its_smallest_image() -> None:
    # The second pool's output, 64 × 7 × 7 × 32 in float32.
    assert new_bytes(lenet_step()) < 64 * 7 * 7 * 32 * 4
