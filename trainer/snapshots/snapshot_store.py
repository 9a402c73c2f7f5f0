"""The snapshots of one run, in one place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from sumgrad.trainer.durable_file import name_of_partial
from sumgrad.trainer.snapshots import manifest as manifests
from sumgrad.trainer.snapshots.folder import open_folder
from sumgrad.trainer.snapshots.manifest import File, Manifest
from sumgrad.trainer.snapshots.reader import ARRAYS, MANIFEST, read
from sumgrad.trainer.snapshots.snapshot import (
    DamagedSnapshotError,
    NotDeletedError,
    Snapshot,
    SnapshotError,
    UnreachableError,
)
from sumgrad.trainer.snapshots.tensor_file import sha256, size, tensor_file
from sumgrad.workers.host.allowed_paths import ANYWHERE, AllowedPaths

_NAME = re.compile(
    rf"(?P<stem>step-(?P<step>[0-9]{{12,}})-[0-9a-f]{{16}})"
    rf"({re.escape(ARRAYS)}|{re.escape(MANIFEST)})"
)

_LISTINGS = 5
"""Times that ``latest`` looks again because all that it saw was deleted meanwhile."""


class SnapshotStore:
    """Saves snapshots so that the newest good one is always there, whenever the process ends.

    A snapshot is two files, the arrays and the manifest, which is written last and deleted first:
    what has no manifest is no snapshot. A part of the arrays' checksum is in the names, so a step
    that is saved again does not overwrite the files that it replaces. Other files are left alone.
    One process at a time may save at a place; any number may read.

    Args:
        location: a path, or an address that fsspec knows, such as ``s3://bucket/folder``.
        keep: how many snapshots are left after a save.
        written: called with the step when its arrays are written and its manifest is not.
        roots: where a path may lead.

    Raises:
        ValueError: if ``keep`` is below 1.
        SnapshotError: if fsspec does not know such addresses.
    """

    def __init__(
        self,
        location: str,
        keep: int,
        written: Callable[[int], object] = lambda step: None,
        roots: AllowedPaths = ANYWHERE,
    ) -> None:
        if keep < 1:
            raise ValueError(f"keep is {keep}: keep at least one snapshot")
        self._folder = open_folder(location, roots)
        self._keep = keep
        self._written = written
        # Found damaged by latest; they make room for good ones.
        self._damaged: set[str] = set()

    def save(self, snapshot: Snapshot) -> None:
        """Write a snapshot, then delete all but the newest ones and this one.

        Raises:
            NotDeletedError: if it was written, but older ones could not be deleted.
            SnapshotError: if it could not be written; the earlier ones are all still there.
        """
        arrays = tensor_file(snapshot.arrays)
        digest = sha256(arrays)
        stem = f"step-{snapshot.step:012d}-{digest[:16]}"
        manifest = manifests.dump(
            Manifest(
                step=snapshot.step,
                files={stem + ARRAYS: File(size=size(arrays), sha256=digest)},
                document=snapshot.document,
            )
        )
        with self._explaining(
            f"The snapshot of step {snapshot.step} was not saved",
            "earlier ones are still there, so make sure that there is room and that it can be "
            "written, and the next one will be saved",
        ):
            self._write(snapshot.step, stem, arrays, manifest)
        with self._explaining(
            f"The snapshot of step {snapshot.step} was saved, but older ones could not be deleted",
            "make sure that files can be deleted there",
            NotDeletedError,
        ):
            self._delete_all_but_newest(stem)

    def latest(self) -> tuple[Snapshot | None, list[str]]:
        """The newest snapshot that is as it was written, if there is one.

        Returns:
            The snapshot, and one sentence for each newer one that cannot be used.

        Raises:
            UnreachableError: if the place cannot be reached; or if there is no good one but one
                that cannot be read just now.
        """
        problems: list[str] = []
        unread: UnreachableError | None = None
        for _ in range(_LISTINGS):
            problems, unread, vanished = [], None, False
            for stem in self._stems():
                try:
                    return read(self._folder, stem), problems
                except FileNotFoundError:
                    vanished = True
                except DamagedSnapshotError as error:
                    self._damaged.add(stem)
                    problems.append(str(error))
                except SnapshotError as error:
                    problems.append(str(error))
                    if isinstance(error, UnreachableError):
                        unread = error
            if not vanished:
                break
        if unread is not None:
            raise unread
        return None, problems

    @property
    def place(self) -> str:
        """Where they lie, for messages."""
        return self._folder.place("")

    def at(self, step: int) -> Snapshot:
        """The snapshot of a step.

        Raises:
            SnapshotError: if there is none, or it cannot be used.
        """
        for stem in self._stems():
            if _step(stem) == step:
                with suppress(FileNotFoundError):
                    return read(self._folder, stem)
        place = self._folder.place("")
        raise SnapshotError(f"There is no snapshot of step {step} in {place}: take a newer one.")

    def steps(self) -> list[int]:
        """Of every snapshot, good or damaged, in ascending order.

        Raises:
            UnreachableError: if the place cannot be reached.
        """
        return sorted({_step(stem) for stem in self._stems()})

    def delete_all(self) -> None:
        """Delete every snapshot and what is left of crashed saves.

        Raises:
            SnapshotError: if that fails; some may be deleted then.
        """
        with self._explaining(
            "The snapshots were not deleted", "make sure that files can be deleted there"
        ):
            self._delete(_complete(self._folder.names()))
            self._delete_leftovers()

    def _write(self, step: int, stem: str, arrays: Sequence[memoryview], manifest: bytes) -> None:
        try:
            self._delete_leftovers()
            self._folder.write(stem + ARRAYS, arrays)
            self._written(step)
            self._folder.write(stem + MANIFEST, [memoryview(manifest)])
        except OSError:
            with suppress(OSError):
                self._delete_leftovers()
            raise

    def _delete_leftovers(self) -> None:
        """Of saves that did not come to their end."""
        names = self._folder.names()
        stems = set(_complete(names))
        self._folder.delete([name for name in names if _is_leftover(name, stems)])

    def _delete_all_but_newest(self, saved: str) -> None:
        self._damaged.discard(saved)
        stems = _complete(self._folder.names())
        # A later step than the saved one counts as newer: if another process saved it, it may be
        # the run's best.
        others = [
            stem for stem in stems if stem not in self._damaged and _step(stem) != _step(saved)
        ]
        kept = {saved, *others[: self._keep - 1]}
        self._delete([stem for stem in stems if stem not in kept])
        self._damaged.clear()

    def _delete(self, stems: Sequence[str]) -> None:
        self._folder.delete([stem + MANIFEST for stem in stems])
        self._folder.delete([stem + ARRAYS for stem in stems])

    def _stems(self) -> list[str]:
        with self._explaining(
            "The snapshots could not be listed",
            "make sure that the place can be read",
            UnreachableError,
        ):
            return _complete(self._folder.names())

    @contextmanager
    def _explaining(
        self, what: str, advice: str, kind: type[SnapshotError] = SnapshotError
    ) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise kind(
                f"{what} in {self._folder.place('')} ({error.strerror or error}): {advice}."
            ) from error


def _complete(names: Sequence[str]) -> list[str]:
    """The snapshots among these files, newest first, without what their names end in."""
    found = [_NAME.fullmatch(name) for name in names if name.endswith(MANIFEST)]
    return sorted((each["stem"] for each in found if each), key=_order, reverse=True)


def _is_leftover(name: str, stems: set[str]) -> bool:
    """Whether a file is of a save that did not come to its end; those of ``stems`` did."""
    partial = name_of_partial(name)
    found = _NAME.fullmatch(partial or name)
    return found is not None and (partial is not None or found["stem"] not in stems)


def _step(stem: str) -> int:
    return int(stem.split("-")[1])


def _order(stem: str) -> tuple[int, str]:
    return _step(stem), stem
