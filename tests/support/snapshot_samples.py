"""Snapshots that tests save, and damage to them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import numpy as np

from sumgrad.trainer.snapshots.snapshot import Snapshot


def sample(step: int, size: int = 3000) -> Snapshot:
    """A snapshot whose every part follows from its step; both files are longer than 8 KiB."""
    rng = np.random.default_rng(step)
    special = np.array([-0.0, np.inf, -np.inf, np.nan, 1e-45], np.float32)
    special.view(np.uint32)[3] ^= 0x80000000 | (step % 1000)
    return Snapshot(
        step,
        {
            "weights": rng.standard_normal(size, dtype=np.float32),
            "state.velocity": rng.standard_normal((size // 10, 2), dtype=np.float32),
            "special": special,
        },
        {
            "epoch": step // 2,
            "rng": 2**127 + step,
            "history": [float(each) for each in rng.standard_normal(500)],
            "special": [-0.0, float("inf"), float("-inf"), float("nan"), 5e-324],
            "name": "é",
        },
    )


def assert_same(found: Snapshot, expected: Snapshot) -> None:
    """Bit for bit."""
    assert found.step == expected.step
    assert found.arrays.keys() == expected.arrays.keys()
    for name, array in expected.arrays.items():
        assert found.arrays[name].dtype == np.float32
        assert found.arrays[name].shape == array.shape
        assert found.arrays[name].tobytes() == array.tobytes(), name
    # The representation tells −0.0 from 0.0 and True from 1, and NaN is equal to itself.
    assert repr(found.document) == repr(expected.document)


def damaged_copies(contents: Sequence[bytes], count: int, seed: int) -> Iterator[tuple[int, bytes]]:
    """Which content, and a copy of it with one bit flipped; every content equally often."""
    rng = random.Random(seed)
    for number in range(count):
        which = number % len(contents)
        damaged = bytearray(contents[which])
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        yield which, bytes(damaged)


LOOP_SIZE = 300_000

LOOP = f"""
import itertools, sys
sys.path.insert(0, "tests")
from support.snapshot_samples import sample
from sumgrad.trainer.snapshots.snapshot_store import SnapshotStore
store = SnapshotStore(sys.argv[1], 2)
for step in itertools.count(1):
    store.save(sample(step, {LOOP_SIZE}))
    print(step, flush=True)
"""
"""A program that saves at a location, says so, and never ends by itself."""
