"""Read the checkpoint that a user names to start from."""

from __future__ import annotations

import os
from pathlib import Path

from sumgrad.trainer.snapshots.folder import Folder, open_folder
from sumgrad.trainer.snapshots.reader import ARRAYS, MANIFEST, read, read_tensors
from sumgrad.trainer.snapshots.snapshot import Snapshot, SnapshotError, UnreachableError
from sumgrad.trainer.snapshots.snapshot_store import SnapshotStore
from sumgrad.workers.host.allowed_paths import ANYWHERE, AllowedPaths


def read_checkpoint(location: str, roots: AllowedPaths = ANYWHERE) -> Snapshot:
    """Read a snapshot, or the weights alone, of any run.

    Args:
        location: path or address of either file of a snapshot; of a folder with snapshots, the
            newest good one of which is read; or of a safetensors file without a manifest beside
            it, which gives its arrays, step 0 and an empty document.
        roots: where a path may lead.

    Raises:
        UnreachableError: if the location cannot be read at the moment.
        SnapshotError: if there is no checkpoint, or it differs from what was written.
    """
    parent, name = os.path.split(location)
    stem, suffix = Path(name).stem, Path(name).suffix
    if suffix not in (ARRAYS, MANIFEST):
        return _newest(location, roots)
    folder = open_folder(parent, roots)
    try:
        if suffix == MANIFEST or _exists(folder, stem + MANIFEST):
            return read(folder, stem)
        return Snapshot(0, read_tensors(folder, name), {})
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        final = isinstance(error, ValueError | FileNotFoundError)
        raise (SnapshotError if final else UnreachableError)(
            f"The checkpoint {folder.place(name)} cannot be read ({why}): name another file."
        ) from error


def _newest(location: str, roots: AllowedPaths) -> Snapshot:
    """The newest good snapshot of a folder."""
    try:
        is_file = Path(location).is_file()
    except OSError as error:
        why = error.strerror or error
        raise SnapshotError(f"{location} cannot be read ({why}): name another place.") from error
    if is_file:
        raise _neither(location)
    snapshot, problems = SnapshotStore(location, keep=1, roots=roots).latest()
    if snapshot is None:
        raise SnapshotError(problems[0]) if problems else _neither(location)
    return snapshot


def _neither(location: str) -> SnapshotError:
    return SnapshotError(
        f"{location} is neither a snapshot nor weights: name a folder that holds snapshots, or a "
        f"file that ends in {MANIFEST} or {ARRAYS}."
    )


def _exists(folder: Folder, name: str) -> bool:
    try:
        folder.size(name)
    except FileNotFoundError:
        return False
    return True
