"""What a service frees goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, resource, sys
from pathlib import Path
from sumgrad.trainer.service.malloc import give_back_memory

LARGE, MANY = 4 * 2**20, 16
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]

def message():
    block = libc.malloc(LARGE)
    ctypes.memset(block, 1, LARGE)
    return block

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

if sys.argv[1] == "given back":
    give_back_memory()
libc.free(message())
before, held = resident(), []
for _ in range(MANY):
    held.append(message())
    libc.malloc(100_000)  # stays behind each of them, so that no heap gets shorter
for block in held:
    libc.free(block)
print((resident() - before) / (MANY * LARGE))
"""


def kept(how: str) -> float:
    """Share of what was freed that the process still has."""
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True, timeout=60
    )
    return float(found.stdout)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's heaps")
def test_large_blocks_that_were_freed_are_given_back_where_glibc_would_keep_them() -> None:
    assert kept("left alone") > 0.9
    assert kept("given back") < 0.1
