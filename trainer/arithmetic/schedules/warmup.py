"""Warm-up: the learning rate rises in equal steps at the start of a run.

Source: Goyal et al. 2017, section 2.2 (gradual warm-up).
"""

from __future__ import annotations


def warmup(step: int, warmup_steps: int) -> float:
    """(step + 1) / warmup_steps until that is 1; ``step`` counts from 0."""
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
