"""The curves of a run: which points there are, and which stay when there are too many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sumgrad.trainer.service.outputs.points import Points
from sumgrad.trainer.service.outputs.thinning import thin
from sumgrad.trainer.v1 import run_pb2, service_pb2

E_IN, E_OUT = service_pb2.SERIES_E_IN, service_pb2.SERIES_E_OUT
METRIC_IN, METRIC_OUT = service_pb2.SERIES_METRIC_IN, service_pb2.SERIES_METRIC_OUT
SPEED = service_pb2.SERIES_SAMPLES_PER_SECOND


def kept_one_by_one(x: list[float], y: list[float], most: int) -> list[int]:
    """The same choice without arrays, straight from the description."""
    n = len(x)
    edges = [int(1 + (n - 2) * i / (most - 2)) for i in range(most - 1)]
    kept = [0]
    for bucket in range(most - 2):
        following = range(edges[bucket + 1], edges[bucket + 2]) if bucket < most - 3 else [n - 1]
        cx = sum(x[i] for i in following) / len(following)
        cy = sum(y[i] for i in following) / len(following)
        ax, ay = x[kept[-1]], y[kept[-1]]

        def area(i: int, ax: float = ax, ay: float = ay, cx: float = cx, cy: float = cy) -> float:
            return abs((ax - cx) * (y[i] - ay) - (ax - x[i]) * (cy - ay))

        kept.append(max(range(edges[bucket], edges[bucket + 1]), key=area))
    return [*kept, n - 1]


@pytest.mark.parametrize(("n", "most"), [(1000, 3), (1000, 10), (999, 100), (101, 100), (57, 8)])
def test_the_points_that_stay_have_the_largest_triangles(n: int, most: int) -> None:
    rng = np.random.default_rng(n)
    x, y = np.arange(float(n)), rng.normal(size=n).cumsum()
    assert thin(x, y, most).tolist() == kept_one_by_one(x.tolist(), y.tolist(), most)


values = st.floats(width=64)


@pytest.mark.slow
@given(st.lists(values, max_size=60), st.integers(2, 20))
@example([0.0, 0.0, 9e307, 9e307, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 7)
def test_whatever_the_values_the_first_and_the_last_stay_and_no_more_than_asked_for(
    y: list[float], most: int
) -> None:
    kept = thin(np.arange(float(len(y))), np.array(y), most)
    assert len(kept) == min(len(y), most)
    assert (np.diff(kept) > 0).all()
    if y:
        assert (kept[0], kept[-1]) == (0, len(y) - 1)


@pytest.mark.parametrize("odd", [9.0, -9.0, float("nan"), float("inf")])
def test_a_single_peak_stays(odd: float) -> None:
    y = np.zeros(1000)
    y[617] = odd
    assert 617 in thin(np.arange(1000.0), y, 10)


def progress(step: int, **figures: float) -> run_pb2.Event:
    return run_pb2.Event(progress=run_pb2.Progress(step=step, **figures))


def curve(points: Points, series: service_pb2.Series) -> list[tuple[int, float]]:
    found = points.curve(series, 100)
    assert found.total == len(found.steps)
    return list(zip(found.steps, found.values, strict=True))


def test_progress_and_epochs_make_the_curves() -> None:
    points = Points()
    points.add(
        [
            run_pb2.Event(scaled=run_pb2.Scaled(workers=2)),
            progress(3, e_in=0.9, accuracy=0.1, samples_per_second=100),
            progress(6, e_in=0.8, samples_per_second=200),
            run_pb2.Event(epoch=run_pb2.Epoch(epoch=1, step=6, e_in=0.8, e_out=0.7, r2=0.2)),
        ]
    )
    assert curve(points, E_IN) == [(3, 0.9), (6, 0.8)]
    assert curve(points, METRIC_IN) == [(3, 0.1)]
    assert curve(points, SPEED) == [(3, 100), (6, 200)]
    assert curve(points, E_OUT) == [(6, 0.7)]
    assert curve(points, METRIC_OUT) == [(6, 0.2)]


def test_where_a_run_went_back_to_a_snapshot_what_came_again_counts() -> None:
    points = Points()
    points.add([progress(s, e_in=s) for s in (2, 4, 6, 8)])
    points.add([progress(s, e_in=-s) for s in (5, 7)])
    assert curve(points, E_IN) == [(2, 2), (4, 4), (5, -5), (7, -7)]
