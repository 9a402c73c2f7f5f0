"""Has the C library give back to the system what a service has freed."""

from __future__ import annotations

import ctypes

MAPPED_BYTES = 2**18
"""A block of so many bytes or more is mapped by itself, and unmapped when it is freed."""

HEAPS = 2
"""That all threads share."""

# Of glibc's malloc.h.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8


def give_back_memory() -> None:
    """Have glibc keep little of what is freed; for the whole process, before it has many threads.

    By itself it raises the size from which a block is mapped to that of the largest one that was
    freed, up to 32 MiB, so that large messages lie in its heaps from the second on. It has up to
    eight heaps a core, and each keeps as much as it once held. Another C library is left as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)
        mallopt(_M_ARENA_MAX, HEAPS)
