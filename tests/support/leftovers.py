"""What a test of sockets, threads and shared memory must not leave behind."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq

from support.waiting import eventually


def memory_files() -> list[str]:
    """Shared vectors that this process maps."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in maps if "memfd:sumgrad" in line]


def _descriptors() -> list[str]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:  # the folder's own descriptor
            continue
        if "memfd:sumgrad" in target:
            found.append(target)
    return found


def _open_sockets() -> list[zmq.Socket[bytes]]:
    # isinstance would ask proxies for their __class__, and some of PyTorch's answer with a warning.
    found = (each for each in gc.get_objects() if issubclass(type(each), zmq.Socket))
    return [socket for socket in found if not socket.closed]


def shared_files() -> set[Path]:
    """Of all processes: another one may have a file there for a moment, so what is new may go."""
    return set(Path("/dev/shm").iterdir())


@contextmanager
def nothing_left_behind() -> Iterator[None]:
    """Fail if the body leaves a thread, an open socket or shared memory."""
    threads, files = set(threading.enumerate()), shared_files()
    mapped, descriptors = len(memory_files()), len(_descriptors())
    gc.freeze()  # the collector then looks at what the body made, and at nothing else
    try:
        yield
        gc.collect()
        assert not _open_sockets()
    finally:
        gc.unfreeze()
    assert set(threading.enumerate()) <= threads
    assert len(_descriptors()) <= descriptors
    assert len(memory_files()) <= mapped
    eventually(lambda: shared_files() <= files)
