"""Repeated figures as text: medians, their spread, and ratios of medians."""

from collections.abc import Sequence
from statistics import median


def spread(figures: Sequence[float]) -> str:
    """Median (least to most)."""
    return f"{median(figures):,.0f} ({min(figures):,.0f} to {max(figures):,.0f})"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Our median over theirs."""
    return f"{median(ours) / median(theirs):.2f}×"
