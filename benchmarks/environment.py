"""The environment in which every side measures."""

import os
import sys

BLAS_OVERRIDES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""They would hold NumPy to kernels of another processor; PyTorch has a BLAS of its own."""


def remove_overrides() -> None:
    """For NumPy where it is not imported yet, and for processes that start from here."""
    for name in BLAS_OVERRIDES:
        if os.environ.pop(name, None) is not None:
            print(f"{name} is set here and left out: each side picks its kernels", file=sys.stderr)


def one_thread() -> None:
    """As a worker has it; to be called before NumPy is imported, which reads it once."""
    remove_overrides()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
