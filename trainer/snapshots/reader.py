"""Read one snapshot, and trust only what its checksums confirm."""

from __future__ import annotations

import hashlib

from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from sumgrad.layers.base.arrays import Array
from sumgrad.trainer.snapshots import manifest as manifests
from sumgrad.trainer.snapshots.folder import Folder
from sumgrad.trainer.snapshots.manifest import Manifest
from sumgrad.trainer.snapshots.snapshot import (
    DamagedSnapshotError,
    Snapshot,
    SnapshotError,
    UnreachableError,
)

ARRAYS, MANIFEST = ".safetensors", ".json"
"""Suffixes of the two files of a snapshot, which have one stem."""


def read(folder: Folder, stem: str) -> Snapshot:
    """
    Args:
        stem: name of the snapshot's files, without their suffixes.

    Raises:
        FileNotFoundError: if it does not exist, or was deleted meanwhile.
        DamagedSnapshotError: if the files differ from what was written.
        UnreachableError: if they cannot be read at the moment.
        SnapshotError: if a newer version wrote them.
    """
    try:
        manifest = _manifest(folder, stem)
        content = _content(folder, stem, manifest)
        return Snapshot(manifest.step, _arrays(content), manifest.document)
    except FileNotFoundError:
        # A manifest is deleted before its arrays.
        if stem + MANIFEST not in folder.names():
            raise
        why = f"its file {stem + ARRAYS} is missing"
        raise DamagedSnapshotError(_sentence(folder, stem, why)) from None
    except ValueError as error:
        raise DamagedSnapshotError(_sentence(folder, stem, str(error))) from error
    except OSError as error:
        why = f"it cannot be read ({error.strerror or error})"
        raise UnreachableError(_sentence(folder, stem, why)) from error
    except SnapshotError as error:
        raise SnapshotError(_sentence(folder, stem, str(error))) from error


def read_tensors(folder: Folder, name: str) -> dict[str, Array]:
    """The arrays of a safetensors file that no manifest describes.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no such file.
    """
    return _arrays(folder.read(name))


def _sentence(folder: Folder, stem: str, why: str) -> str:
    return (
        f"The snapshot {folder.place(stem + MANIFEST)} cannot be used, because {why}: "
        f"start from another one."
    )


def _manifest(folder: Folder, stem: str) -> Manifest:
    size = folder.size(stem + MANIFEST)
    if size > manifests.MAX_BYTES:
        raise ValueError(f"its manifest has {size} bytes of at most {manifests.MAX_BYTES}")
    try:
        return manifests.load(folder.read(stem + MANIFEST))
    except ValueError as error:
        raise ValueError(f"its manifest is damaged ({error})") from error


def _content(folder: Folder, stem: str, manifest: Manifest) -> bytes:
    """The content of the file with the arrays."""
    name = stem + ARRAYS
    if list(manifest.files) != [name]:
        raise ValueError(f"its manifest describes {', '.join(manifest.files)} and not {name}")
    expected = manifest.files[name]
    size = folder.size(name)
    if size != expected.size:
        raise ValueError(f"its file {name} has {size} bytes of {expected.size}")
    content = folder.read(name)
    if hashlib.sha256(content).hexdigest() != expected.sha256:
        raise ValueError(f"the checksum of its file {name} is wrong")
    return content


def _arrays(content: bytes) -> dict[str, Array]:
    try:
        return load_tensors(content)
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"it is not a safetensors file of numbers ({error})") from error
