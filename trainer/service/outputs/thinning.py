"""Thins a long curve out to few points that keep its shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.intp]


def thin(x: NDArray[np.float64], y: NDArray[np.float64], most: int) -> Index:
    """Which points keep the shape of a curve: largest triangle, three buckets.

    The points between the first and the last are cut into ``most − 2`` buckets in their order. Of
    each bucket stays the point whose triangle, with the point that stayed before it and the mean of
    the next bucket, is the largest; the first of several; one that is not finite before all others.

    Args:
        x, y: of shape (n,); x ascends.
        most: how many points may stay, ≥ 2.

    Returns:
        Ascending indices, all where n ≤ most; the first and the last point are among them.

    Source: S. Steinarsson, Downsampling Time Series for Visual Representation, 2013, section 4.2.
    """
    n = len(x)
    if n <= most:
        return np.arange(n)
    edges = np.linspace(1, n - 1, most - 1).astype(np.intp)
    kept = np.zeros(most, np.intp)
    kept[-1] = n - 1
    for bucket in range(most - 2):
        start, stop = edges[bucket], edges[bucket + 1]
        following = slice(stop, edges[bucket + 2]) if bucket < most - 3 else slice(n - 1, n)
        area = _areas(x, y, kept[bucket], slice(start, stop), following)
        kept[bucket + 1] = start + int(np.argmax(area))
    return kept


def _areas(
    x: NDArray[np.float64], y: NDArray[np.float64], before: np.intp, bucket: slice, following: slice
) -> NDArray[np.float64]:
    """Twice the area of each triangle; infinite at a point that is not finite."""
    # The largest doubles have sums and products that are not finite.
    with np.errstate(invalid="ignore", over="ignore"):
        mean_x, mean_y = x[following].mean(), _mean_of_finite(y[following])
        before_y = y[before] if np.isfinite(y[before]) else mean_y
        area = np.abs(
            (x[before] - mean_x) * (y[bucket] - before_y)
            - (x[before] - x[bucket]) * (mean_y - before_y)
        )
    return np.where(np.isfinite(area), area, np.inf)


def _mean_of_finite(y: NDArray[np.float64]) -> float:
    finite = y[np.isfinite(y)]
    return float(np.mean(finite)) if len(finite) else 0.0
