"""Makes the C library return freed memory to the system."""

from __future__ import annotations

import ctypes

MAPPED_BYTES = 2**18
"""Blocks of this size and above are mapped one by one, and unmapped when they are freed."""

HEAPS = 2
"""Heaps that all threads share."""

# Of glibc's malloc.h.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8


def give_back_memory() -> None:
    """Have glibc keep little freed memory, in the whole process; call it before there are threads.

    By default glibc raises the size from which blocks are mapped to that of the largest block that
    was freed, up to 32 MiB, so large messages lie in its heaps from the second one on. It has up to
    eight heaps for each core, and each keeps as much as it once held. Other C libraries are not
    changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)
        mallopt(_M_ARENA_MAX, HEAPS)
