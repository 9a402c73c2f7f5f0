"""A probe of the bits that this process computes.

Two hosts give the same weights only if their BLAS and their NumPy do the same operations in the
same order. Libraries pick their kernels by the processor, so a version says too little: the probe
computes what training computes, and its results' bytes are part of the digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sumgrad.layers.base.arrays import Array
from sumgrad.workers.host.fingerprint import PROBED, Fingerprint

PRODUCTS = ((3, 5, 7), (1, 784, 10), (1000, 3, 2), (33, 129, 65), (64, 784, 128))
"""Rows, inner length and columns of the probe's products: small, one row, tall, ragged, large."""

ELEMENTS = 4099
"""Of the probe's functions and sums: a prime, so that every vector loop has a remainder."""


def fingerprint() -> Fingerprint:
    """The fingerprint of this process, in a few milliseconds."""
    probed = {name: hashlib.sha256() for name in PROBED}
    for name, result in _probe():
        probed[name].update(np.ascontiguousarray(result).tobytes())
    parts = _libraries() | {name: sha.hexdigest()[:16] for name, sha in probed.items()}
    digested = {name: part for name, part in parts.items() if name != "threads"}
    content = json.dumps(digested, sort_keys=True).encode()
    return Fingerprint(hashlib.sha256(content).hexdigest(), parts)


_FUNCTIONS = {"exp": np.exp, "tanh": np.tanh, "log": np.log, "sqrt": np.sqrt}


def _probe() -> Iterator[tuple[str, Array]]:
    """Results of the functions that training consists of, each with its function's name."""
    # Uniform numbers are scaled integers: unlike normal ones, they are the same everywhere.
    rng = np.random.Generator(np.random.Philox(0))

    def uniform(*shape: int) -> Array:
        return 2 * rng.random(shape, np.float32) - 1

    for rows, inner, columns in PRODUCTS:
        a, b = uniform(rows, inner), uniform(inner, columns)
        yield "matmul", a @ b
        yield "matmul", a @ np.ascontiguousarray(b.T).T
        yield "matmul", np.ascontiguousarray(a.T).T @ b
    for dtype in (np.float32, np.float64):
        x = (8 * uniform(ELEMENTS)).astype(dtype)
        for name, function in _FUNCTIONS.items():
            yield name, function(np.abs(x) if name in ("log", "sqrt") else x)
        yield "sum", x.sum(keepdims=True)
        yield "sum", x[:4096].reshape(64, 64).sum(axis=0)
        yield "sum", x[:4096].reshape(64, 64).sum(axis=1)


def _libraries() -> dict[str, str]:
    """Versions, and the kernels that the libraries have chosen, as far as they are known."""
    config: dict[str, Any] = np.show_config(mode="dicts")  # type: ignore[assignment]
    blas = config.get("Build Dependencies", {}).get("blas", {})
    simd = config.get("SIMD Extensions", {})
    parts = {
        "numpy": np.__version__,
        "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        "simd": " ".join([*simd.get("baseline", []), *simd.get("found", [])]),
    }
    for library in _blas():
        parts["core"] = str(library.get("architecture", "unknown"))
        parts["threads"] = str(library["num_threads"])
    return parts


def _blas() -> list[dict[str, Any]]:
    """NumPy's BLAS, if it can be found; SciPy's may be loaded beside it."""
    from threadpoolctl import threadpool_info  # here, because clients read fingerprints without it

    found = [library for library in threadpool_info() if library["user_api"] == "blas"]
    installed = str(Path(np.__file__).parents[1])
    bundled = f"{installed}/numpy"
    return [lib for lib in found if lib["filepath"].startswith(bundled)][:1] or found[:1]
