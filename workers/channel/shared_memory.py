"""Vectors in memory that two processes of one host share.

A memory file has no name in any file system: the other process opens it through /proc, and the
kernel frees it when the last process that maps it is gone, however it went. So nothing can be
left behind, and the size of /dev/shm, 64 MB in a container by default, is no limit.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np

from sumgrad.layers.base.arrays import Array
from sumgrad.workers.v1 import work_pb2


class SharedMemoryError(RuntimeError):
    """The memory of the other process cannot be mapped here."""


class ProcessGoneError(SharedMemoryError):
    """The other process has ended."""


class SharedVectors:
    """``rows`` float32 vectors of ``columns`` elements each.

    Attributes:
        array: the vectors, (rows, columns); pages take memory when they are first written.
        reference: what another process on this host needs to attach.
    """

    def __init__(self, descriptor: int, reference: work_pb2.Memory) -> None:
        self._descriptor = descriptor
        self._map = mmap.mmap(descriptor, max(1, reference.rows * reference.columns * 4))
        self.reference = reference
        count = reference.rows * reference.columns
        flat = np.frombuffer(self._map, dtype="<f4", count=count)
        self.array: Array = flat.reshape(reference.rows, reference.columns)

    @classmethod
    def create(cls, rows: int, columns: int) -> SharedVectors:
        """New vectors, all zeros."""
        descriptor = os.memfd_create("sumgrad", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, max(1, rows * columns * 4))
        status = os.fstat(descriptor)
        reference = work_pb2.Memory(
            process=os.getpid(),
            descriptor=descriptor,
            device=status.st_dev,
            inode=status.st_ino,
            rows=rows,
            columns=columns,
        )
        return cls(descriptor, reference)

    @classmethod
    def attach(cls, reference: work_pb2.Memory) -> SharedVectors:
        """The vectors that another process of this host and user created.

        Raises:
            ProcessGoneError: there is no such process, or it has let go of them.
            SharedMemoryError: they are not within reach, or not what the reference says.
        """
        path = f"/proc/{reference.process}/fd/{reference.descriptor}"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ProcessGoneError(f"there is no {path}") from None
        except OSError as error:
            raise SharedMemoryError(f"cannot open {path}: {error.strerror}") from None
        status = os.fstat(descriptor)
        bytes_needed = max(1, reference.rows * reference.columns * 4)
        if (status.st_dev, status.st_ino, status.st_size) != (
            reference.device,
            reference.inode,
            bytes_needed,
        ):
            os.close(descriptor)
            raise SharedMemoryError(f"{path} is not the memory that was announced")
        return cls(descriptor, reference)

    def close(self) -> None:
        """Let go of the descriptor; the mapping goes with the last array that views it."""
        os.close(self._descriptor)


def host_identity() -> str:
    """Equal for two processes that reach each other through /proc and by an abstract socket.

    The first needs a common process namespace, the second a common network.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    spaces = Path("/proc/self/ns")
    return f"{boot}/{(spaces / 'pid').readlink()}/{(spaces / 'net').readlink()}"
